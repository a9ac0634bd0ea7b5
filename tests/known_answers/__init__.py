"""Answers that others published, and other programs that must agree."""
