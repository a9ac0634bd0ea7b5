"""`keywheel access keys`: who may sign requests. Works on the data directory, like `keywheel init`.

The secret half of a new key goes into a file that only its owner may read, and is never shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from keywheel.cli.house import House, tell, with_house
from keywheel.cli.output import as_json, iso, moment, print_json, table
from keywheel.clock import SystemClock, to_epoch
from keywheel.errors import ConfigurationError, ResourceNotFound

if TYPE_CHECKING:
    from keywheel.access.access_keys import AccessKey


@click.group(name="keys")
def access_keys() -> None:
    """Create, list, switch off and delete access keys, by which clients sign their requests."""


@access_keys.command()
@click.argument("user", metavar="USER")
@click.option("--read-only", is_flag=True, help="The key may read, values included, and change nothing.")
@click.option("--administrator", is_flag=True, help="The key may do everything that no policy denies.")
@click.option("--account", metavar="ID", help="The account it works in.  [default: that of DIR/credentials]")
@click.option("--credentials-file", required=True, metavar="FILE", help="The new AWS credentials file to write it to.")
@as_json
@with_house
def create(
    house: House,
    user: str,
    read_only: bool,
    administrator: bool,
    account: str | None,
    credentials_file: str,
    as_json: bool,
) -> None:
    """Create an access key for USER, and write it to a new AWS credentials file (mode 0600).

    It may do what the policies of USER allow, unless it is made for more.
    """
    from keywheel.access.access_keys import AccessKeys, Role, new_access_key
    from keywheel.credentials import credentials_text
    from keywheel.keys.root.unseal import write_new

    access_key_id, secret = new_access_key()
    if read_only and administrator:
        raise ConfigurationError("Say --read-only or --administrator, and not both.")
    role = Role.READ_ONLY if read_only else Role.ADMINISTRATOR if administrator else Role.POLICIES
    scope = house.scope(account, None)
    account = scope.account
    path = Path(credentials_file)
    tell(house, "CreateAccessKey", account=account, user=user, role=role.value, access_key_id=access_key_id)
    write_new(path, credentials_text(access_key_id, secret, scope.region))  # first, so that no crash loses a valid key
    try:
        house.database.write(
            lambda tx: AccessKeys(house.keys).create(
                tx,
                account=account,
                name=user,
                role=role,
                now=SystemClock().now(),
                access_key_id=access_key_id,
                secret=secret,
            )
        )
    except Exception:
        path.unlink()  # nothing knows this key
        raise
    if as_json:
        document = {"access_key_id": access_key_id, "user": user, "account": account, "role": role.value}
        print_json(document | {"credentials_file": str(path)})
    else:
        click.echo(f"Created the {role.value} access key {access_key_id} of {user} in account {account}.")
        click.echo(f"Wrote {path} (mode 0600).")


@access_keys.command(name="list")
@as_json
@with_house
def list_access_keys(house: House, as_json: bool) -> None:
    """List the access keys of every account, without their secret halves."""
    from keywheel.access.access_keys import AccessKeys

    with house.database.point() as tx:
        found = AccessKeys.list(tx)
    if as_json:
        print_json({"access_keys": [_document(key) for key in found]})
        return
    now = to_epoch(SystemClock().now())
    rows = [
        (
            key.access_key_id,
            _user(key),
            key.account,
            key.role.value if key.active else f"{key.role.value}, inactive",
            moment(key.created, now, zone=""),
            moment(key.used, now, zone=""),
        )
        for key in found
    ]
    table(("access key", "user", "account", "role", "created (UTC)", "last used"), rows)


@access_keys.command()
@click.argument("access_key_id", metavar="ID")
@with_house
def deactivate(house: House, access_key_id: str) -> None:
    """Switch the access key ID off. Requests signed with it are refused from a second later on."""
    _switch(house, access_key_id, active=False)


@access_keys.command()
@click.argument("access_key_id", metavar="ID")
@with_house
def activate(house: House, access_key_id: str) -> None:
    """Switch the access key ID on again."""
    _switch(house, access_key_id, active=True)


def _switch(house: House, access_key_id: str, *, active: bool) -> None:
    from keywheel.access.access_keys import AccessKeys

    status = "Active" if active else "Inactive"
    tell(house, "UpdateAccessKey", access_key_id=access_key_id, status=status)
    if not house.database.write(lambda tx: AccessKeys.set_active(tx, access_key_id, active=active)):
        raise _unknown(access_key_id)
    click.echo(f"The access key {access_key_id} is {status.lower()}.")


@access_keys.command()
@click.argument("access_key_id", metavar="ID")
@as_json
@with_house
def delete(house: House, access_key_id: str, as_json: bool) -> None:
    """Delete the access key ID. Requests signed with it are refused from a second later on."""
    from keywheel.access.access_keys import AccessKeys

    tell(house, "DeleteAccessKey", access_key_id=access_key_id)
    if not house.database.write(lambda tx: AccessKeys.delete(tx, access_key_id)):
        raise _unknown(access_key_id)
    if as_json:
        print_json({"deleted": access_key_id})
    else:
        click.echo(f"Deleted the access key {access_key_id}.")


def _unknown(access_key_id: str) -> ResourceNotFound:
    return ResourceNotFound(f"There is no access key {access_key_id}.", hint="`keywheel access keys list` shows all.")


def _document(key: AccessKey) -> dict[str, str | bool | None]:
    return {
        "access_key_id": key.access_key_id,
        "user": _user(key),
        "account": key.account,
        "arn": key.arn,
        "role": key.role.value,
        "created": iso(key.created),
        "active": key.active,
        "last_used": iso(key.used),
        "last_used_service": key.used_service,
        "last_used_region": key.used_region,
    }


def _user(key: AccessKey) -> str:
    return key.arn.rpartition("/")[2]
