"""AWS KMS on the wire: its shapes, and a handler for each of its operations."""
