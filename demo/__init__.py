"""`make demo`: live PostgreSQL passwords are rotated while an application keeps logging in."""
