"""`keywheel audit`: verify the audit ledger, hand it out, prove what stands in it. Works on the data directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import click

from keywheel.cli.house import House, with_house
from keywheel.cli.output import as_json, print_json
from keywheel.errors import ConfigurationError


@click.group()
def audit() -> None:
    """Verify, export and prove the audit ledger.

    Every API call, every step of a rotation and every administrative act is an entry, in CloudTrail's words, under
    DIR/audit. Entries are chained, and signed every second; whoever keeps a checkpoint elsewhere can show later that
    nothing below it was changed. `python -m keywheel.verifier` does the same without a server's code.
    """


@audit.command()
@click.option(
    "--checkpoint",
    "kept",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Checkpoints that were kept elsewhere, a line each.",
)
@as_json
@with_house
def verify(house: House, kept: tuple[Path, ...], as_json: bool) -> None:
    """Verify every stream of this directory, and that none is missing which the store knows of."""
    from keywheel import verifier

    key, lines = _key(house), [line for path in kept for line in path.read_text(encoding="utf-8").splitlines()]
    report = verifier.verify(_ledger(house), key, [*_known(house), *filter(None, lines)])
    if as_json:
        fields = ("streams", "entries", "checkpoints", "unsigned", "problems")
        print_json({name: getattr(report, name) for name in fields})
    else:
        click.echo("\n".join(verifier.summary(report)))
    click.get_current_context().exit(1 if report.problems else 0)


@audit.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new directory for the copy.")
@with_house
def export(house: House, out: Path) -> None:
    """Copy the ledger, its public key, the checkpoints and the verifier to a new directory."""
    from keywheel import verifier

    if out.exists():
        raise ConfigurationError(f"{out} exists already.", hint="Name a new directory.")
    source = _ledger(house)
    shutil.copytree(source, out / "ledger", ignore=shutil.ignore_patterns("ballast", "lock", "node", "frontier.json*"))
    (out / "ledger" / "public-key.pem").replace(out / "public-key.pem")
    (out / "checkpoints.txt").write_text("".join(f"{line}\n" for line in _known(house)), encoding="utf-8")
    shutil.copy(verifier.__file__, out / "verifier.py")
    click.echo(f"python {out}/verifier.py {out}/ledger --key {out}/public-key.pem --checkpoint {out}/checkpoints.txt")


@audit.command()
@click.argument("event_id", required=False)
@click.option(
    "--since",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A kept checkpoint (the last line): prove that the ledger of today continues it.",
)
@with_house
def prove(house: House, event_id: str | None, since: Path | None) -> None:
    """Print a proof that the entry EVENT_ID stands in the ledger, for `verifier.py --proof`.

    With --since, a proof that nothing before a checkpoint was changed, for whoever has only that checkpoint.
    """
    from keywheel.access.audit import proofs

    ledger = _ledger(house)
    if (event_id is None) == (since is None):
        raise click.UsageError("Give an EVENT_ID, or --since.")
    if since is not None:
        _prove_since(ledger, since)
        return
    wanted = f'"eventID":"{event_id}"'.encode()
    for found in proofs.find(ledger, lambda line: wanted in line):
        if found.proof is None:
            raise ConfigurationError("The entry is not signed yet.", hint="Ask again in a second.")
        print_json(found.proof)
        return
    raise ConfigurationError(f"There is no entry {event_id} in {ledger}.", hint="`eventID` is the request's id.")


def _prove_since(ledger: Path, since: Path) -> None:
    from keywheel.access.audit import proofs

    lines = since.read_text(encoding="utf-8").split("\n")
    try:
        proof = proofs.continued(ledger, next((line for line in reversed(lines) if line), ""))
    except (ValueError, FileNotFoundError) as error:
        raise ConfigurationError(f"{since}: {error}", hint="It is a line of DIR/audit/*/checkpoints.jsonl.") from None
    if proof is None:
        raise ConfigurationError("The ledger has no newer checkpoint.", hint="`keywheel audit verify --checkpoint`.")
    print_json(proof)


def _ledger(house: House) -> Path:
    path = house.settings.directory / "audit"
    if not path.is_dir():
        raise ConfigurationError(f"{house.settings.directory} has no audit ledger.", hint="`keywheel serve` begins it.")
    return path


def _key(house: House) -> Any:
    """The public key as the store has it, not as a file beside the ledger says."""
    from keywheel import verifier
    from keywheel.keys.signing import signing_key

    return verifier.read_key(house.database.write(lambda tx: signing_key(tx, house.keys)).public_pem().encode())


def _known(house: House) -> list[str]:
    """The newest checkpoint of each stream of this directory that the store knows."""
    from keywheel.access.audit import checkpoints
    from keywheel.access.audit.log import node_name

    node = node_name(_ledger(house))
    with house.database.read() as tx:
        return [line for line in checkpoints.kept(tx) if json.loads(line)["note"].split("\n")[1].startswith(f"{node}-")]
