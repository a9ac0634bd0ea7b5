"""Rotation functions by the Lambda contract: invoked through an endpoint, or run here in processes of their own."""
