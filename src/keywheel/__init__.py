"""keywheel: rotates every secret and key a team has, on schedule, without downtime, without ever losing one."""

__version__ = "0.1.0"
