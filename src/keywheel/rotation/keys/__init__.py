"""Rotation behind an alias: a new key of the same kind takes the name, and the one before it is led out in stages."""
