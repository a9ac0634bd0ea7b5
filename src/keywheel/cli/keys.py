"""`keywheel keys`: keys that protect secrets, to be named as a KmsKeyId. Works on the data directory.

The key's material is made under the root key and never leaves the database.
"""

from __future__ import annotations

import re

import click

from keywheel.cli.house import House, tell, with_house
from keywheel.cli.output import as_json, count, iso, moment, print_json, table
from keywheel.clock import SystemClock, to_epoch
from keywheel.errors import ConfigurationError, ResourceNotFound

_ALIAS = re.compile(r"alias/(?!aws/)[A-Za-z0-9/_-]{1,250}")

_account = click.option("--account", metavar="ID", help="The account.  [default: that of DIR/credentials]")
_region = click.option("--region", metavar="REGION", help="The Region.  [default: that of DIR/config]")


@click.group()
def keys() -> None:
    """Create and list keys that protect secrets.

    A secret is protected by the key that its KmsKeyId names, else by alias/aws/secretsmanager, which is made on first
    use. These commands open the data directory themselves, with the root key; no server has to run.
    """


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
    from keywheel.db.statement import Tx
    from keywheel.keys.keyring import Key

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
    with house.database.point() as tx:
        found = house.keys.list(tx, scope)
    if as_json:
        documents = [
            {
                "key_id": key_id,
                "arn": scope.arn("kms", f"key/{key_id}"),
                "manager": manager,
                "description": description,
                "created": iso(created),
            }
            for key_id, manager, description, created in found
        ]
        print_json({"keys": documents})
        return
    now = to_epoch(SystemClock().now())
    if found:
        rows = [
            (key_id, manager, description, moment(created, now, zone=""))
            for key_id, manager, description, created in found
        ]
        table(("key", "manager", "description", "created (UTC)"), rows)
        click.echo("")
    click.echo(f"{count(len(found), 'key')} in account {scope.account}, {scope.region}.")
