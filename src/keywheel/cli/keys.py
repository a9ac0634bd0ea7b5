"""`keywheel keys`: the keys of KMS, which protect secrets, too. Works on the data directory.

The key's material is made under the root key and never leaves the database.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import click

from keywheel.cli.house import House, tell, with_house
from keywheel.cli.key_rotation import COMMANDS
from keywheel.cli.material import echo_material, material_of
from keywheel.cli.output import NOTHING, as_json, count, iso, moment, print_json, printable, table
from keywheel.cli.reencrypt import reencrypt
from keywheel.clock import SystemClock, to_epoch
from keywheel.errors import ConfigurationError, ResourceNotFound

if TYPE_CHECKING:
    from keywheel.arn import Scope
    from keywheel.db.statement import Tx
    from keywheel.keys.keyring import Key

_PAGE = 1000
_ALIAS = re.compile(r"alias/(?!aws/)[A-Za-z0-9/_-]{1,250}")

_account = click.option("--account", metavar="ID", help="The account.  [default: that of DIR/credentials]")
_region = click.option("--region", metavar="REGION", help="The Region.  [default: that of DIR/config]")


@click.group()
def keys() -> None:
    """Create, list, show and rotate keys.

    A secret is protected by the key that its KmsKeyId names, else by alias/aws/secretsmanager, which is made on first
    use. `create`, `list` and `show` open the data directory themselves, with the root key; no server has to run. The
    other commands talk to a server.
    """


for command in (*COMMANDS, reencrypt):
    keys.add_command(command)


@keys.command()
@click.option("--alias", metavar="ALIAS", help="A name for the key, such as alias/billing.")
@click.option("--description", default="", metavar="TEXT", help="What the key is for.")
@_account
@_region
@as_json
@with_house
def create(
    house: House, alias: str | None, description: str, account: str | None, region: str | None, as_json: bool
) -> None:
    """Create a symmetric encryption key."""
    if alias is not None and not _ALIAS.fullmatch(alias):
        raise ConfigurationError("--alias must look like alias/billing, and not begin with alias/aws/.")
    scope = house.scope(account, region)

    def work(tx: Tx) -> Key:
        if alias is not None:
            try:
                house.keys.resolve(tx, scope, alias)
            except ResourceNotFound:
                pass
            else:
                raise ConfigurationError(
                    f"There is a key with the name {alias} already.", hint="Choose another --alias."
                )
        key = house.keys.create(tx, scope, description=description, now=SystemClock().now())
        if alias is not None:
            house.keys.name(tx, key, alias)
        return key

    tell(house, "CreateKey", account=scope.account, region=scope.region, alias=alias or "")
    key = house.database.write(work)
    if as_json:
        print_json({"key_id": key.key_id, "arn": key.arn, "alias": alias, "description": description})
    else:
        click.echo(f"Created {key.arn}{'' if alias is None else f', named {alias}'}.")


@keys.command(name="list")
@_account
@_region
@as_json
@with_house
def list_keys(house: House, account: str | None, region: str | None, as_json: bool) -> None:
    """List the keys of an account and Region."""
    scope = house.scope(account, region)
    with house.database.read() as tx:
        found, names = _keys(house, tx, scope), _names(house, tx, scope)
    if as_json:
        print_json({"keys": [_document(key, names[key.key_id]) for key in found]})
        return
    if found:
        rows = [
            (
                key.key_id,
                ", ".join(names[key.key_id]),
                key.spec,
                key.usage,
                key.state,
                _period(key),
                key.description,
            )
            for key in found
        ]
        table(("key", "aliases", "spec", "usage", "state", "rotation", "description"), rows)
        click.echo("")
    click.echo(f"{count(len(found), 'key')} in account {scope.account}, {scope.region}.")


@keys.command()
@click.argument("key")
@_account
@_region
@as_json
@with_house
def show(house: House, key: str, account: str | None, region: str | None, as_json: bool) -> None:
    """Show one key, by its id, ARN or alias, and which secrets depend on it."""
    scope = house.scope(account, region)
    now = SystemClock().now()
    with house.database.read() as tx:
        found = house.keys.find(tx, scope, key, now=now, aliases=True)
        aliases = _names(house, tx, found.scope, found)[found.key_id]
        material = material_of(tx, found, aliases)
    if as_json:
        print_json(_document(found, aliases) | material.document())
        return
    instant = to_epoch(now)
    used = NOTHING if found.last_used is None else f"{found.last_operation}, {moment(found.last_used, instant)}"
    lines = {
        "key": found.arn,
        "aliases": ", ".join(aliases) or NOTHING,
        "description": printable(found.description) or NOTHING,
        "spec": found.spec,
        "usage": found.usage,
        "algorithms": ", ".join(found.algorithms),
        "state": found.state,
        "origin": found.origin,
        "manager": found.manager,
        "created": moment(found.created, instant),
        "rotation": _period(found),
        "next rotation": moment(found.next_rotation, instant),
        "material": found.material_id or NOTHING,
        "expires": moment(found.expires, instant),
        "deletion": moment(found.deletion, instant),
        "last used": used,
    }
    width = max(map(len, lines))
    for name, text in lines.items():
        click.echo(f"{name:{width}}  {text}")
    echo_material(material, instant)


def _keys(house: House, tx: Tx, scope: Scope) -> list[Key]:
    found: list[Key] = []
    while page := house.keys.page(tx, scope, after=found[-1].key_id if found else None, most=_PAGE):
        found += page
    return sorted(found, key=lambda key: (key.created, key.key_id))


def _names(house: House, tx: Tx, scope: Scope, key: Key | None = None) -> dict[str, list[str]]:
    """The aliases of each key."""
    names: dict[str, list[str]] = defaultdict(list)
    after = None
    while page := house.keys.aliases.page(tx, scope, key=key, after=after, most=_PAGE):
        for alias in page:
            names[alias.key_id].append(alias.name)
        after = page[-1].name
    return names


def _period(key: Key) -> str:
    return NOTHING if key.rotation_period is None else f"every {count(key.rotation_period, 'day')}"


def _document(key: Key, aliases: list[str]) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "arn": key.arn,
        "aliases": aliases,
        "manager": key.manager,
        "description": key.description,
        "spec": key.spec,
        "usage": key.usage,
        "algorithms": list(key.algorithms),
        "state": key.state,
        "origin": key.origin,
        "created": iso(key.created),
        "material_id": key.material_id,
        "rotation_days": key.rotation_period,
        "next_rotation": iso(key.next_rotation),
        "expires": iso(key.expires),
        "deletion": iso(key.deletion),
        "last_used": iso(key.last_used),
        "last_operation": key.last_operation,
    }
