"""The main job through the public API: create the secrets, rotate them, follow each step, try every version."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from demo.application import logs_in, read
from demo.errors import DemoFailed
from keywheel.arn import Arn
from keywheel.cli.client import Client
from keywheel.rotator import Credential

GRACE = timedelta(seconds=1)
"""How long the old user of a pair may log in still. A day is more usual."""

STEPS = ("created", "set", "tested", "finished", "old one retired")
_MEANINGS = {
    ("StepDone", "create"): "created",
    ("StepDone", "set"): "set",
    ("StepDone", "test"): "tested",
    ("RotationSucceeded", "finish"): "finished",
    ("OldCredentialRetired", "retire"): "old one retired",
}
_ENDS = ("RotationFailed", "RotationAbandoned", "RotationCancelled")
_LOOK_SECONDS, _WAIT_SECONDS = 0.03, 30.0
SUPERUSER = "demo/superuser"


@dataclass(frozen=True, slots=True)
class Case:
    """A secret of the demo, and the strategy that rotates it."""

    strategy: str
    secret: str
    function: str
    explanation: str


SINGLE = Case(
    "single user",
    "demo/single-user",
    "keywheel-postgres-single-user",
    "One user, whose password is changed in place.",
)
ALTERNATING = Case(
    "alternating users",
    "demo/alternating-users",
    "keywheel-postgres-alternating-users",
    f"Two users take turns; the idle one is locked after a grace period, here {GRACE.seconds} s.",
)


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a secret, before and after the rotations, and whether its password works at the end."""

    id: str
    username: str
    before: tuple[str, ...] | None
    after: tuple[str, ...]
    works: bool


def create_secrets(client: Client, *, superuser: Credential, single: Credential, alternating: Credential) -> None:
    """Three secrets: the superuser's, and one for each application. The alternating users' names the superuser's."""
    master = _create(client, SUPERUSER, superuser)
    _create(client, SINGLE.secret, single)
    paired = Credential({**alternating.fields, "masterarn": master}, alternating.password)
    grace = {"Key": "keywheel:grace-period", "Value": f"{GRACE.seconds}s"}
    _create(client, ALTERNATING.secret, paired, Tags=[grace])


def labels(client: Client, case: Case) -> dict[str, tuple[str, ...]]:
    """The staging labels of every version of the secret, the oldest version first."""
    answer = client.call("secretsmanager.ListSecretVersionIds", SecretId=case.secret, IncludeDeprecated=True)
    versions = sorted(answer["Versions"], key=lambda version: version["CreatedDate"])
    return {version["VersionId"]: tuple(version.get("VersionStages") or ()) for version in versions}


def tried(client: Client, case: Case, before: Mapping[str, tuple[str, ...]]) -> list[Version]:
    """Every version of the secret, each one's password tried now."""
    found = []
    for version, after in labels(client, case).items():
        credential = read(client, case.secret, version)
        found.append(Version(version, credential.username, before.get(version), after, logs_in(credential)))
    return found


def rotate(client: Client, case: Case) -> Iterator[tuple[str, float]]:
    """Rotate once: each step as it happens, with the seconds since the rotation began.

    Raises:
        DemoFailed: the rotation did not succeed; the reason is the journal's.
    """
    described = client.call("secretsmanager.DescribeSecret", SecretId=case.secret)
    old = next(v for v, stages in described["VersionIdsToStages"].items() if "AWSCURRENT" in stages)
    token, arn = str(uuid.uuid4()), Arn.parse(described["ARN"])
    assert arn is not None
    client.call(
        "secretsmanager.RotateSecret",
        SecretId=case.secret,
        ClientRequestToken=token,
        RotationLambdaARN=f"arn:aws:lambda:{arn.region}:{arn.account}:function:{case.function}",
        RotationRules={"AutomaticallyAfterDays": 30},
    )
    return _followed(client, case, token, old)


def _create(client: Client, name: str, credential: Credential, **members: Any) -> str:
    given = {"SecretString": credential.to_json(), "ClientRequestToken": str(uuid.uuid4()), **members}
    answer = client.call("secretsmanager.CreateSecret", Name=name, **given)
    return str(answer["ARN"])


def _followed(client: Client, case: Case, token: str, old: str) -> Iterator[tuple[str, float]]:
    """What the journal says of this rotation, until its old version is retired."""
    seen, reason = 0, "nothing was heard of it"
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        journal = client.call("keywheel.ListRotationEvents", SecretId=case.secret)["Events"][::-1]  # oldest first
        events = list(itertools.dropwhile(lambda event: event.get("VersionId") != token, journal))
        for event in events[seen:]:
            reason = event.get("Reason", reason)
            if event["Event"] in _ENDS:
                raise DemoFailed(f"The rotation of {case.secret} ended with {event['Event']}: {reason}")
            if word := _MEANINGS.get((event["Event"], event["Step"])):
                yield word, event["At"] - events[0]["At"]
            if event["Event"] == "OldCredentialRetired" and event["VersionId"] == old:
                return
        seen = len(events)
        time.sleep(_LOOK_SECONDS)
    raise DemoFailed(f"The rotation of {case.secret} took more than {_WAIT_SECONDS:.0f} seconds: {reason}.")
