"""Rotation functions by the Lambda contract: how they are invoked."""
