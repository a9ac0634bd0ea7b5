"""Custom key stores, and the keys in them."""
