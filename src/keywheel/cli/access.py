"""`keywheel access`: users, roles and their policies. Works on the data directory, like `keywheel init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keywheel.cli.access_keys import access_keys
from keywheel.cli.explain import explain
from keywheel.cli.house import House, tell, with_house
from keywheel.cli.output import as_json, iso, moment, print_json, table
from keywheel.cli.tags import Tag
from keywheel.clock import SystemClock, to_epoch
from keywheel.errors import ConfigurationError, ResourceNotFound

if TYPE_CHECKING:
    from keywheel.access.identities import Identity, Sort

_account = click.option("--account", metavar="ID", help="The account.  [default: that of DIR/credentials]")
_path = click.option("--path", default="/", show_default=True, metavar="PATH", help="Where it stands, such as /team/.")
_tags = click.option("--tag", "tags", multiple=True, type=Tag(), help="A tag, for aws:PrincipalTag; may be repeated.")
_user = click.option("--user", metavar="USER", help="The user whose policy it is.")
_role = click.option("--role", metavar="ROLE", help="The role whose policy it is.")


@click.group()
def access() -> None:
    """Who may do what: users, their access keys, roles, policies, and why something is allowed or not.

    A user signs with access keys, a role is assumed by whom its trust policy admits. These commands open the data
    directory themselves, with the root key; no server has to run, and one that runs learns of a change within a second.
    """


access.add_command(access_keys)
access.add_command(explain)


@access.group()
def users() -> None:
    """Create, list and delete users."""


@access.group()
def roles() -> None:
    """Create, list and delete roles, and say who may assume them."""


@access.group()
def policies() -> None:
    """Put policies on users and roles, list, show and take them away."""


@users.command(name="create")
@click.argument("name", metavar="USER")
@_path
@_tags
@_account
@as_json
@with_house
def create_user(
    house: House, name: str, path: str, tags: tuple[tuple[str, str], ...], account: str | None, as_json: bool
) -> None:
    """Create USER, who may do nothing until a policy is put on them."""
    from keywheel.access.identities import Identities

    account = house.scope(account, None).account
    tell(house, "CreateUser", account=account, user=name)
    now = SystemClock().now()
    made = house.database.write(
        lambda tx: Identities.create_user(tx, account=account, name=name, path=path, now=now, tags=dict(tags))
    )
    _told(made, "Created", as_json=as_json)


@roles.command(name="create")
@click.argument("name", metavar="ROLE")
@click.option("--trust", required=True, metavar="FILE", help="The trust policy: who may assume it.")
@click.option("--longest", default=3600, show_default=True, metavar="SECONDS", help="The longest session.")
@_path
@_tags
@_account
@as_json
@with_house
def create_role(
    house: House,
    name: str,
    trust: str,
    longest: int,
    path: str,
    tags: tuple[tuple[str, str], ...],
    account: str | None,
    as_json: bool,
) -> None:
    """Create ROLE, which may do nothing until a policy is put on it."""
    from keywheel.access.identities import Identities

    account, text, now = house.scope(account, None).account, _read(trust), SystemClock().now()
    tell(house, "CreateRole", account=account, role=name)
    made = house.database.write(
        lambda tx: Identities.create_role(
            tx, account=account, name=name, trust=text, path=path, longest=longest, now=now, tags=dict(tags)
        )
    )
    _told(made, "Created", as_json=as_json)


@roles.command(name="trust")
@click.argument("name", metavar="ROLE")
@click.argument("file", metavar="FILE")
@_account
@with_house
def trust(house: House, name: str, file: str, account: str | None) -> None:
    """Give ROLE the trust policy in FILE. Sessions that there are go on."""
    from keywheel.access.identities import Identities

    account, text = house.scope(account, None).account, _read(file)
    tell(house, "UpdateAssumeRolePolicy", account=account, role=name)
    house.database.write(lambda tx: Identities().set_trust(tx, account, name, text))
    click.echo(f"The role {name} is assumed by whom {file} admits.")


@users.command(name="list")
@as_json
@with_house
def list_users(house: House, as_json: bool) -> None:
    """List the users of every account."""
    _list(house, "user", as_json=as_json)


@roles.command(name="list")
@as_json
@with_house
def list_roles(house: House, as_json: bool) -> None:
    """List the roles of every account."""
    _list(house, "role", as_json=as_json)


@users.command(name="delete")
@click.argument("name", metavar="USER")
@_account
@with_house
def delete_user(house: House, name: str, account: str | None) -> None:
    """Delete USER with the access keys and the policies."""
    _delete(house, "user", name, account)


@roles.command(name="delete")
@click.argument("name", metavar="ROLE")
@_account
@with_house
def delete_role(house: House, name: str, account: str | None) -> None:
    """Delete ROLE with its sessions and its policies."""
    _delete(house, "role", name, account)


@policies.command(name="put")
@click.argument("name", metavar="NAME")
@click.argument("file", metavar="FILE")
@_user
@_role
@_account
@with_house
def put_policy(house: House, name: str, file: str, user: str | None, role: str | None, account: str | None) -> None:
    """Put the policy in FILE on a user or a role, as NAME, in place of the one that had this name."""
    from keywheel.access.identities import Identities

    sort, owner = _owner(user, role)
    account, text, now = house.scope(account, None).account, _read(file), SystemClock().now()
    tell(house, f"Put{sort.value.capitalize()}Policy", account=account, owner=owner, policy=name)
    house.database.write(
        lambda tx: Identities().put_policy(tx, account, sort, owner, name=name, document=text, now=now)
    )
    click.echo(f"The policy {name} is on the {sort.value} {owner}.")


@policies.command(name="list")
@_user
@_role
@_account
@as_json
@with_house
def list_policies(house: House, user: str | None, role: str | None, account: str | None, as_json: bool) -> None:
    """List the policies of a user or a role."""
    sort, owner = _owner(user, role)
    found = _policies(house, sort, owner, account)
    if as_json:
        print_json({"policies": sorted(found)})
    else:
        table(("policy", "characters"), [(name, str(len(found[name]))) for name in sorted(found)])


@policies.command(name="show")
@click.argument("name", metavar="NAME")
@_user
@_role
@_account
@with_house
def show_policy(house: House, name: str, user: str | None, role: str | None, account: str | None) -> None:
    """Print the policy NAME of a user or a role, as it was given."""
    sort, owner = _owner(user, role)
    text = _policies(house, sort, owner, account).get(name)
    if text is None:
        raise ResourceNotFound(f"The {sort.value} {owner} has no policy {name}.")
    click.echo(text)


@policies.command(name="delete")
@click.argument("name", metavar="NAME")
@_user
@_role
@_account
@with_house
def delete_policy(house: House, name: str, user: str | None, role: str | None, account: str | None) -> None:
    """Take the policy NAME from a user or a role."""
    from keywheel.access.identities import Identities

    sort, owner = _owner(user, role)
    account = house.scope(account, None).account
    tell(house, f"Delete{sort.value.capitalize()}Policy", account=account, owner=owner, policy=name)
    if not house.database.write(lambda tx: Identities.delete_policy(tx, account, sort, owner, name)):
        raise ResourceNotFound(f"The {sort.value} {owner} has no policy {name}.")
    click.echo(f"The {sort.value} {owner} has no policy {name} any more.")


def _policies(house: House, sort: Sort, owner: str, account: str | None) -> dict[str, str]:
    from keywheel.access.identities import Identities

    account = house.scope(account, None).account
    with house.database.read() as tx:
        Identities().get(tx, account, sort, owner)
        return Identities.policies(tx, account, sort, owner)


def _owner(user: str | None, role: str | None) -> tuple[Sort, str]:
    from keywheel.access.identities import Sort

    if (user is None) == (role is None):
        raise ConfigurationError("Say --user or --role, and not both.")
    return (Sort.USER, user) if user is not None else (Sort.ROLE, str(role))


def _list(house: House, sort: str, *, as_json: bool) -> None:
    from keywheel.access.identities import Identities, Sort

    with house.database.point() as tx:
        found = Identities.list(tx, Sort(sort))
    if as_json:
        print_json({f"{sort}s": [_document(each) for each in found]})
        return
    now = to_epoch(SystemClock().now())
    rows = [(each.name, each.account, each.arn, moment(each.created, now, zone="")) for each in found]
    table((sort, "account", "ARN", "created (UTC)"), rows)


def _delete(house: House, sort: str, name: str, account: str | None) -> None:
    from keywheel.access.identities import Identities, Sort

    account = house.scope(account, None).account
    tell(house, f"Delete{sort.capitalize()}", account=account, **{sort: name})
    house.database.write(lambda tx: Identities().delete(tx, account, Sort(sort), name))
    click.echo(f"Deleted the {sort} {name}.")


def _told(made: Identity, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(_document(made))
    else:
        click.echo(f"{what} {made.arn}.")


def _document(each: Identity) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": each.name,
        "account": each.account,
        "arn": each.arn,
        "id": each.identity_id,
        "created": iso(each.created),
    }
    if each.tags:
        document["tags"] = dict(each.tags)
    return document if each.longest is None else {**document, "longest_session_seconds": each.longest}


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not UTF-8.") from None
