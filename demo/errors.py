"""How the demo fails."""

from __future__ import annotations


class DemoFailed(Exception):
    """Something did not go as the demo promises. The message is for the person who looks on."""
