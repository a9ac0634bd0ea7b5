"""What a secret says about how it is rotated: its rotation rules, and its tags. Pure."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from keywheel.clock import from_epoch, to_epoch
from keywheel.schedule import RotationRules, Window
from keywheel.secrets.rows import Secret

GRACE_TAG = "keywheel:grace-period"
SESSIONS_TAG = "keywheel:end-sessions"
_GRACE_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST_GRACE = 36_500 * 86_400  # seconds; what is longer is never


def rules_of(secret: Secret) -> RotationRules:
    """The rotation rules that a secret keeps."""
    return RotationRules(secret.rotation_days, secret.rotation_expression, secret.rotation_duration)


def grace_of(secret: Secret, default: timedelta | None) -> timedelta | None:
    """How long after finish the old credential is retired: the secret's tag, else the strategy's own.

    The tag `keywheel:grace-period` holds a number and a unit (`90s`, `30m`, `12h`, `7d`) or `never`.
    """
    text = json.loads(secret.tags).get(GRACE_TAG)
    if text is None:
        return default
    number, unit = text[:-1], text[-1:]
    if unit not in _GRACE_UNITS or not number.isascii() or not number.isdigit():
        return None if text == "never" else default
    seconds = int(number) * _GRACE_UNITS[unit]
    return timedelta(seconds=seconds) if seconds <= _LONGEST_GRACE else None


def ends_sessions(secret: Secret) -> bool:
    """Whether retiring an old credential ends the sessions it opened: the tag `keywheel:end-sessions` is `true`."""
    return bool(json.loads(secret.tags).get(SESSIONS_TAG) == "true")


def next_window(secret: Secret, now: datetime, *, last_rotated: datetime | None) -> Window | None:
    """The next window of a secret's schedule; None when it has none, or rotation is off."""
    if not secret.rotation_enabled:
        return None
    configured = from_epoch(secret.rotation_configured or secret.created)
    return rules_of(secret).schedule().next_window(now, configured=configured, last_rotated=last_rotated)


def due_in(secret: Secret, window: Window | None) -> float | None:
    """When a rotation starts in `window`."""
    return None if window is None else to_epoch(window.due(secret.arn))
