"""Three servers on one PostgreSQL, killed, frozen and cut off at random while they rotate live roles: `make chaos`."""
