"""Multi-Region keys: what they share, and what each Region has of its own."""
