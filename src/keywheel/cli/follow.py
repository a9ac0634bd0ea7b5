"""Follow rotations to their ends, by the server's journal.

Only the journal's own instants are compared, so it does not matter whether this machine's clock agrees with the
server's. A server that is away for a while is asked again until the time is up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keywheel.cli.client import Client, ServerAway, ServerRefused
from keywheel.clock import Clock

Event = Mapping[str, Any]

ROTATED, FAILED, REFUSED, TIMED_OUT, STARTED = "rotated", "failed", "refused", "timed out", "started"
_ENDS = {
    "RotationSucceeded": ROTATED,
    "RotationFailed": FAILED,
    "RotationCancelled": "cancelled",
    "RotationAbandoned": "abandoned",
}
# What the newest of these says: whether a rotation is under way, a failed one that is not complete included.
_UNDER_WAY = {
    "RotationStarted": True,
    "StepDone": True,
    "StepRetried": True,
    "RotationFailed": True,
    "RotationSucceeded": False,
    "RotationCancelled": False,
    "RotationAbandoned": False,
    "TestRotationStarted": False,
    "TestRotationSucceeded": False,
    "TestRotationFailed": False,
}
_SHORTEST_PAUSE = 0.25


@dataclass(frozen=True, slots=True)
class Followed:
    """A rotation that is watched: of which secret, since which instant of the journal, and what is known of it.

    `version_id` is the version that this rotation makes current; None when it was under way before we came.
    """

    name: str
    arn: str
    version_id: str | None = None
    since: float = 0.0
    joined: bool = False
    outcome: str | None = None
    step: str | None = None
    code: str | None = None
    reason: str | None = None
    hint: str | None = None
    seconds: float = 0.0


def start(client: Client, name: str, token: str) -> Followed:
    """Ask for a rotation of the secret `name`. One that is under way is joined.

    Raises:
        ServerAway: nobody answers.
    """
    try:
        journal = client.call("keywheel.ListRotationEvents", SecretId=name)
    except ServerRefused as error:
        return _refused(Followed(name, name), error)
    events = journal.get("Events") or []
    before = Followed(name, journal["Arn"], since=events[0].get("At", 0.0) if events else 0.0)
    try:
        started = client.call("secretsmanager.RotateSecret", SecretId=name, ClientRequestToken=token)
    except ServerRefused as error:
        return _joined_or_refused(client, before, error)
    return replace(before, name=started["Name"], version_id=started["VersionId"])


def _joined_or_refused(client: Client, before: Followed, error: ServerRefused) -> Followed:
    """What a refusal means. AWS's code for "a rotation is under way" is also that of other reasons."""
    refused = _refused(before, error)
    if error.code != "InvalidRequestException":
        return refused
    secret = client.call("secretsmanager.DescribeSecret", SecretId=before.arn)
    if "DeletedDate" in secret:
        return refused
    if "RotationLambdaARN" not in secret:
        return replace(refused, hint="Configure its rotation first: RotateSecret with a RotationLambdaARN.")
    events = client.call("keywheel.ListRotationEvents", SecretId=before.arn).get("Events") or []
    return replace(before, joined=True) if under_way(events) else refused


def under_way(events: Sequence[Event]) -> bool:
    """Whether a rotation is not complete, by a journal that begins with the newest event."""
    return next((_UNDER_WAY[event["Event"]] for event in events if event["Event"] in _UNDER_WAY), False)


def judge(followed: Followed, events: Sequence[Event]) -> Followed:
    """What the journal, newest event first, says about a rotation."""
    ours = [event for event in events if _is_of(followed, event)]
    end = next((event for event in ours if event["Event"] in _ENDS and _is_new(followed, event)), None)
    newest = end or next(iter(ours), {})
    version_id = newest.get("VersionId") if followed.joined else followed.version_id
    seen = replace(followed, version_id=version_id, step=newest.get("Step"))
    seen = replace(seen, code=newest.get("Code"), reason=newest.get("Reason"))
    return seen if end is None else replace(seen, outcome=_ENDS[end["Event"]])


def follow(
    client: Client,
    started: Sequence[Followed],
    *,
    clock: Clock,
    sleep: Callable[[float], None],
    timeout: float,
    tell: Callable[[Sequence[Followed]], None],
) -> list[Followed]:
    """Watch every rotation until it ends or `timeout` seconds are over; `tell` hears after each look."""
    begun = clock.monotonic()
    watched = list(started)
    while True:
        looked = clock.monotonic()
        watched = [one if one.outcome else _look(client, one, looked - begun) for one in watched]
        tell(watched)
        now = clock.monotonic()
        if all(one.outcome for one in watched):
            return watched
        if now - begun >= timeout:
            return [one if one.outcome else _give_up(one, now - begun) for one in watched]
        sleep(min(max(_SHORTEST_PAUSE, now - looked), max(0.0, begun + timeout - now)))


def _look(client: Client, one: Followed, seconds: float) -> Followed:
    try:
        events = client.call("keywheel.ListRotationEvents", SecretId=one.arn).get("Events") or []
    except ServerAway as error:
        return replace(one, code="ServerAway", reason=error.message)
    except ServerRefused as error:  # deleted under our eyes, say
        return replace(_refused(one, error), seconds=seconds)
    return replace(judge(one, events), seconds=seconds)


def _is_of(followed: Followed, event: Event) -> bool:
    return event["Event"] in _UNDER_WAY and (followed.joined or event.get("VersionId") == followed.version_id)


def _is_new(followed: Followed, event: Event) -> bool:
    """One that was joined may have failed before: that is not how it ends now."""
    return not followed.joined or float(event.get("At", 0.0)) > followed.since


def _give_up(one: Followed, seconds: float) -> Followed:
    hint = "It goes on in the server: `keywheel status` shows how far it is."
    idle = "The engine has not taken it up: `keywheel doctor` looks for the cause."
    reason = one.reason or (idle if one.step in (None, "create") else f"It is at step {one.step}.")
    return replace(one, outcome=TIMED_OUT, reason=reason, hint=hint, seconds=seconds)


def _refused(one: Followed, error: ServerRefused) -> Followed:
    return replace(one, outcome=REFUSED, code=error.code, reason=error.text, hint=error.hint())
