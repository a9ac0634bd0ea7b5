"""What `keywheel keys show` tells of a key's material: each backing key, and how many versions of secrets it wraps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from keywheel.cli.output import count, iso, moment, table

if TYPE_CHECKING:
    from keywheel.db.statement import Tx
    from keywheel.keys.keyring import Key

_UNKNOWN = (
    "Not counted, because nobody can know of them: ciphertexts that clients got of this key from Encrypt, ReEncrypt or",
    "GenerateDataKey and keep themselves, and what is in backups.",
)


class _Backing(NamedTuple):
    generation: int
    material_id: str
    since: float | None
    current: bool
    versions: int


@dataclass(frozen=True, slots=True)
class Material:
    """The backing keys of a key, and how many secrets name it; neither, where it is no symmetric encryption key."""

    backing_keys: list[_Backing]
    secrets: int

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "secrets": self.secrets,
            "backing_keys": [{**each._asdict(), "since": iso(each.since)} for each in self.backing_keys],
        }


def material_of(tx: Tx, key: Key, aliases: list[str]) -> Material:
    """The material of a key that has these aliases."""
    from keywheel.keys import ciphertext
    from keywheel.keys.materials import Materials
    from keywheel.keys.specs import SYMMETRIC
    from keywheel.secrets import wrapped

    if key.spec != SYMMETRIC:
        return Material([], 0)
    versions = wrapped.dependants(tx, key.key_id)
    since: dict[int, float | None] = dict.fromkeys(versions)
    since |= {each.generation: each.rotated or each.created for each in Materials.of(tx, key)}
    found = [
        _Backing(
            generation,
            ciphertext.material_id(key.key_id, generation),
            since[generation],
            generation == key.generation,
            versions.get(generation, 0),
        )
        for generation in sorted(since)
    ]
    return Material(found, _secrets(tx, key, aliases))


def _secrets(tx: Tx, key: Key, aliases: list[str]) -> int:
    """How many secrets name the key, however they spell it."""
    from keywheel.keys.keyring import DEFAULT_ALIAS
    from keywheel.secrets import wrapped
    from keywheel.secrets.values import named_key

    names = {key.key_id, key.arn, *aliases, *(key.scope.arn("kms", alias) for alias in aliases)}
    is_default = DEFAULT_ALIAS in aliases
    total = 0
    for spelled, many in wrapped.named_keys(tx, key.scope).items():
        name = named_key(key.scope, spelled)
        total += many if (is_default if name is None else name in names) else 0
    return total


def echo_material(material: Material, now: float) -> None:
    """Print it for a person."""
    if not material.backing_keys:
        return
    click.echo("")
    rows = [
        (
            str(each.generation),
            each.material_id,
            moment(each.since, now),
            "current" if each.current else "",
            str(each.versions),
        )
        for each in material.backing_keys
    ]
    table(("backing key", "material", "since", "", "versions of secrets"), rows)
    click.echo("")
    versions = sum(each.versions for each in material.backing_keys)
    click.echo(
        f"{count(versions, 'version')} of secrets under it; {count(material.secrets, 'secret')} of its Region use it."
    )
    for line in _UNKNOWN:
        click.echo(line)
