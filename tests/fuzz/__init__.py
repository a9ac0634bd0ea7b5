"""Requests that nobody should send, in numbers, against a real server: `make fuzz`; every test run has a part."""
