"""Aliases: names of keys that can move from one key to another."""

from __future__ import annotations

from keywheel.access.door import Caller, authorize
from keywheel.api.kms import shapes as s
from keywheel.api.kms.finding import find, permit, permit_alias
from keywheel.api.kms.paging import Bookmarks
from keywheel.api.rooms import Rooms
from keywheel.db.statement import Tx
from keywheel.errors import ValidationFailed
from keywheel.keys.keyring import Key

_PAGE = 50


def create_alias(rooms: Rooms, caller: Caller, request: s.CreateAliasRequest) -> None:
    """Give a key a name that is free."""
    rooms.keys.aliases.check_name(request.alias_name)
    permit_alias(caller, "CreateAlias", request.alias_name)

    def work(tx: Tx) -> None:
        key = _target(rooms, tx, caller, "CreateAlias", request.target_key_id)
        rooms.keys.aliases.create(tx, request.alias_name, key, rooms.clock.now())

    rooms.database.write(work)


def update_alias(rooms: Rooms, caller: Caller, request: s.UpdateAliasRequest) -> None:
    """Move a name to another key of the same kind and usage."""
    rooms.keys.aliases.check_name(request.alias_name)
    permit_alias(caller, "UpdateAlias", request.alias_name)

    def work(tx: Tx) -> None:
        key = _target(rooms, tx, caller, "UpdateAlias", request.target_key_id)
        permit(rooms, tx, caller, "UpdateAlias", _named(rooms, tx, caller, request.alias_name))
        rooms.keys.aliases.update(tx, caller.scope, request.alias_name, key, rooms.clock.now())

    rooms.database.write(work)


def delete_alias(rooms: Rooms, caller: Caller, request: s.DeleteAliasRequest) -> None:
    """Take a name away; its key stays."""
    rooms.keys.aliases.check_name(request.alias_name)
    permit_alias(caller, "DeleteAlias", request.alias_name)

    def work(tx: Tx) -> None:
        permit(rooms, tx, caller, "DeleteAlias", _named(rooms, tx, caller, request.alias_name))
        rooms.keys.aliases.delete(tx, caller.scope, request.alias_name)
        rooms.key_rotations.end(tx, caller.scope, request.alias_name, rooms.clock.now())

    rooms.database.write(work)


def list_aliases(rooms: Rooms, caller: Caller, request: s.ListAliasesRequest) -> s.ListAliasesResponse:
    """A page of the names of the account and Region, or of one key."""
    authorize(caller, "kms:ListAliases", "*", {})
    most = request.limit or _PAGE
    with rooms.database.read() as tx:
        key = None if request.key_id is None else find(rooms, tx, caller, "ListAliases", request.key_id)
        marks = Bookmarks(str, "ListAliases", caller.scope, None if key is None else key.key_id)
        after = marks.read(request.marker)
        found = rooms.keys.aliases.page(tx, caller.scope, key=key, after=after, most=most + 1)
    page = marks.page(found, most, lambda alias: alias.name)
    entries = [
        s.AliasListEntry(
            alias_name=alias.name,
            alias_arn=alias.arn,
            target_key_id=alias.key_id,
            creation_date=alias.created,
            last_updated_date=alias.updated,
        )
        for alias in page.items
    ]
    return s.ListAliasesResponse(aliases=entries, next_marker=page.marker, truncated=page.truncated)


def _target(rooms: Rooms, tx: Tx, caller: Caller, action: str, key_id: str) -> Key:
    """The key that an alias shall point to.

    Raises:
        ValidationFailed: it is an alias itself.
    """
    if key_id.startswith("alias/") or ":alias/" in key_id:
        raise ValidationFailed("Aliases must refer to keys. Not aliases")
    return find(rooms, tx, caller, action, key_id, lock=True)


def _named(rooms: Rooms, tx: Tx, caller: Caller, name: str) -> Key:
    return rooms.keys.find(tx, caller.scope, name, now=rooms.clock.now(), aliases=True)
