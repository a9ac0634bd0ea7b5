"""The grants on a key that somebody holds, ready to be weighed."""

from __future__ import annotations

from functools import lru_cache

from keywheel.access.grants import Grant
from keywheel.access.principals import Principal
from keywheel.db.statement import Tx
from keywheel.keys.grant_rows import KeyGrant
from keywheel.keys.grants import Grants
from keywheel.keys.keyring import Key


def held(grants: Grants, tx: Tx, key: Key, principal: Principal, *, remembered: bool = False) -> tuple[Grant, ...]:
    """The grants on `key` whose grantee is `principal` or the role it acts in. `remembered`: see `Grants.held`."""
    if not key.grants:
        return ()
    names = tuple(dict.fromkeys((principal.arn, principal.identity)))
    return tuple(as_grant(kept) for kept in grants.held(tx, key, names, remembered=remembered))


@lru_cache(4096)
def as_grant(kept: KeyGrant) -> Grant:
    """What decides of a grant."""
    return Grant(
        grant_id=kept.grant_id,
        grantee=kept.grantee,
        operations=frozenset(kept.operation_names),
        equals=kept.equals_context,
        subset=kept.subset_context,
        source_arn=kept.source_arn,
    )
