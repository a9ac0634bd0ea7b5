"""Requests that nobody should send, in numbers, against a real server: `make fuzz`, and a part of it in every test run."""
