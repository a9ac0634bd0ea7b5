"""`keywheel evidence`: what a rotation can be proved by, for an auditor. The server states it, the ledger proves it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keywheel.cli.client import Client, with_client
from keywheel.cli.output import NOTHING, count, note, printable, table
from keywheel.config import load_settings
from keywheel.errors import ConfigurationError

if TYPE_CHECKING:
    from keywheel.access.audit.proofs import Found

_EVENT = re.compile(rb'"eventID":"([^"]*)"')
_STYLES = {"met": "green", "not yet": "yellow", "not shown": "red"}
_STEPS = ("RotationStarted", "StepDone", "StepRetried", "RotationFailed", "RolledBack", "RotationSucceeded")
_MOST = 10_000


@click.command()
@click.argument("name")
@click.option("--rotation", metavar="VERSION_ID", help="The version that the rotation made.  [default: the last]")
@click.option("--all", "every", is_flag=True, help="Every rotation that the journal knows, the newest first.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "json"]),
    help="For people or programs.  [default: text; in a file, json]",
)
@click.option(
    "--ledger",
    "ledgers",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="An audit ledger to take proofs from; one for each machine.  [default: DIR/audit]",
)
@with_client
def evidence(
    client: Client,
    name: str,
    rotation: str | None,
    every: bool,
    out: Path | None,
    shape: str | None,
    ledgers: tuple[Path, ...],
) -> None:
    """Tell what proves that the secret NAME was rotated: who, why, when, what was verified, under which policy.

    The server signs what it states; the entries of the audit ledger are added with proofs, where the ledger is at hand.
    `python -m keywheel.verifier --evidence FILE --key PUBLIC.pem` checks both without a server.
    """
    documents = list(_documents(client, name, rotation, every=every))
    _prove(documents, ledgers or _own_ledger())
    if shape == "json" or (shape is None and out is not None):
        whole = {"rotations": documents} if every else documents[0]
        _write(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", out)
    elif out is not None:
        raise click.UsageError("A file is written as json.")
    else:
        for number, document in enumerate(documents):
            click.echo("\n" if number else "", nl=False)
            _show(document)
    unsigned = sum(len(document["statement"]["events"]) - _proved(document) for document in documents)
    if unsigned:
        note(
            f"{count(unsigned, 'event')} without a proof: not signed yet (ask again in a second), or in another ledger."
        )


def _documents(client: Client, name: str, rotation: str | None, *, every: bool) -> Iterator[dict[str, Any]]:
    for _ in range(_MOST if every else 1):
        answer = client.call("keywheel.GetRotationEvidence", SecretId=name, VersionId=rotation, Newest=every)
        yield answer["Evidence"]
        rotation = answer.get("Earlier")
        if rotation is None:
            return


# --- the ledger's part -----------------------------------------------------------------------------------------------


def _own_ledger() -> tuple[Path, ...]:
    path = load_settings({"data": click.get_current_context().params.get("data")}).directory / "audit"
    return (path,) if path.is_dir() else ()


def _prove(documents: Sequence[dict[str, Any]], ledgers: Sequence[Path]) -> None:
    """Add what the ledgers have of each rotation, in one pass, and judge again."""
    from keywheel.access.audit import proofs
    from keywheel.rotation import controls

    found: list[Found] = []
    try:
        for ledger in ledgers:
            found += proofs.find(ledger, _wanted(documents))
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename} cannot be read: {error.strerror}.", hint="Run it as the server's user, or name a copy."
        ) from None
    told: dict[str, tuple[dict[str, Any], Found]] = {}
    for one in found:
        entry = json.loads(one.line)
        if entry["eventID"] not in told or one.proof is not None:
            told[entry["eventID"]] = entry, one
    for document in documents:
        own = [(entry, one) for entry, one in told.values() if _is_of(entry, document["statement"])]
        document["ledger"] = {
            "entries": [{"event_id": entry["eventID"], "stream": one.stream} for entry, one in own],
            "proofs": [one.proof for _, one in own if one.proof is not None],
        }
        recorded = frozenset(entry["eventID"] for entry, _ in own)
        proved = frozenset(entry["eventID"] for entry, one in own if one.proof is not None)
        document["controls"] = controls.judged(document["statement"], controls.Seen(recorded, proved))


def _wanted(documents: Sequence[Mapping[str, Any]]) -> Callable[[bytes], bool]:
    """The rotations' own events, what else the ledger tells of them, and the calls that changed something."""
    arn = documents[0]["statement"]["secret"]["arn"].encode()
    versions = [document["statement"]["rotation"]["version"].encode() for document in documents]
    events = {event["event_id"].encode() for document in documents for event in document["statement"]["events"]}

    def wanted(line: bytes) -> bool:
        if arn not in line:
            return False
        number = _EVENT.search(line)
        if number is not None and number[1] in events:
            return True
        return b'"readOnly":false' in line and any(one in line for one in versions)

    return wanted


def _is_of(entry: Mapping[str, Any], stated: Mapping[str, Any]) -> bool:
    """Whether an entry is about a rotation: also one that the statement should tell of, and does not."""
    version = stated["rotation"]["version"]
    if entry["eventType"] == "AwsApiCall":
        return version in json.dumps(entry)
    told = entry.get("additionalEventData") or {}
    listed = any(event["event_id"] == entry["eventID"] for event in stated["events"])
    missed = stated["complete"] and entry["eventTime"] < stated["made"][: len("2026-01-31T08:15:00")]
    return listed or (missed and told.get("VersionId") == version and entry["eventName"] in _STEPS)


def _proved(document: Mapping[str, Any]) -> int:
    events = {event["event_id"] for event in document["statement"]["events"]}
    proved = {json.loads(proof["entry"])["eventID"] for proof in document["ledger"]["proofs"]}
    return len(events & proved)


# --- for people ------------------------------------------------------------------------------------------------------


def _show(document: Mapping[str, Any]) -> None:
    stated = document["statement"]
    rotation, asked, policy = stated["rotation"], stated["asked"], stated["policy"]
    rotator = stated["rotator"]
    click.secho(f"{printable(stated['secret']['name'])}: rotation {rotation['version']}", bold=True)
    lines = {
        "outcome": _joined(rotation["outcome"], rotation["code"], rotation["reason"]),
        "who": _joined(asked["by"], asked["access_key_id"], _source(document)),
        "why": _joined(asked["why"]),
        "when": f"{_at(rotation['began'])} to {_at(rotation['finished'])}",
        "rotator": _joined(rotator["strategy"], rotator["target"], rotator["place"]),
        "engine": _joined(*rotation["engines"], *(f"epoch {epoch}" for epoch in rotation["epochs"])),
        "new": _credential(stated["new_credential"]),
        "old": _credential(stated["old_credential"]),
        "policy": _joined(_rules(policy), _password(policy), _grace(policy), policy["in_force"]),
        "ledger": f"{_proved(document)} of {count(len(stated['events']), 'event')} proved",
    }
    for label, text in lines.items():
        click.echo(f"{label:<9} {printable(text)}")
    click.echo("")
    table(("step", "began", "ended", "outcome", "runs", "why"), [_step(one) for one in stated["steps"]])
    click.echo("")
    verdicts = [
        (one["framework"], one["control"], (one["verdict"], _STYLES[one["verdict"]])) for one in document["controls"]
    ]
    table(("framework", "control", "this rotation"), verdicts)


def _step(one: Mapping[str, Any]) -> tuple[str, ...]:
    return one["step"], _at(one["began"]), _at(one["ended"]), one["outcome"], str(one["attempts"]), one["code"] or ""


def _credential(part: Mapping[str, Any]) -> str:
    due = f"due {_at(part['due'])}" if part.get("due") else None
    return _joined(part["version"], part["state"], part["how"], _at(part["at"]) if part["at"] else None, due)


def _source(document: Mapping[str, Any]) -> str | None:
    """Where the call that asked for the rotation came from, as the ledger has it."""
    for proof in document["ledger"]["proofs"]:
        entry = json.loads(proof["entry"])
        if entry["eventName"] == "RotateSecret":
            return f"from {entry.get('sourceIPAddress')}"
    return None


def _rules(policy: Mapping[str, Any]) -> str:
    if policy["days"] is not None:
        return f"every {count(policy['days'], 'day')}"
    return policy["expression"] or "no schedule"


def _password(policy: Mapping[str, Any]) -> str | None:
    return None if policy["password"] is None else f"{policy['password']['length']} characters"


def _grace(policy: Mapping[str, Any]) -> str | None:
    grace = policy["grace"]
    return None if grace is None else f"old credential lives on for {grace} s" if isinstance(grace, int) else grace


def _joined(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part) or NOTHING


def _at(text: str | None) -> str:
    return NOTHING if text is None else text.replace("T", " ").replace("Z", " UTC")


def _write(text: str, out: Path | None) -> None:
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written: {error.strerror}.") from None
