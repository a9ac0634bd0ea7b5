"""Hours of ordinary work in minutes, against a real server and live roles: `make soak`."""
