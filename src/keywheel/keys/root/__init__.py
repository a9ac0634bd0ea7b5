"""The root key: where it is from, what is under it, and how it rotates."""
