"""One file for each target system. `keywheel/rotator.py` says what such a file holds."""
