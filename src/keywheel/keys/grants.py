"""Grants: kept with their key, found by their grantee, named by tokens. What one allows is in access/grants.py.

1. A key says how many grants it has, and counts every change of them. A key without grants costs nobody a look, and
   what was read for a grantee is good until the count moves. Both change in the transaction of the grant, under the
   lock of the key.
2. A token says which grant it names, and that it comes from here: a MAC under a secret of the installation. It is not
   stored. It gives no right, for the grant says who may use and retire it; a grant has as many tokens as were asked
   for; and all are worth nothing when the grant is gone.
3. Asked again with the same name and terms, CreateGrant answers the grant that there is.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from keywheel.arn import Scope
from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import LimitExceeded, ValidationFailed
from keywheel.keys import grant_rows as rows
from keywheel.keys import rows as key_rows
from keywheel.keys import specs, states
from keywheel.keys.errors import InvalidGrantId, InvalidGrantToken, KeyNotFound
from keywheel.keys.grant_rows import KeyGrant, Terms
from keywheel.keys.root.tie import Root
from keywheel.keys.rows import Key

MOST = 50_000  # grants of one key: a quota of AWS KMS
_MOST_PAIRS, _LONGEST_VALUE = 8, 384
_REMEMBERED = 4096  # grantees whose grants on a key are remembered
_GRANT_ID = re.compile("[0-9a-f]{64}")
_SECRET = "grant-token-key"  # noqa: S105 # the name of it
_NONCE, _MAC = 16, 32  # bytes

_ALWAYS = frozenset({"CreateGrant", "RetireGrant", "DescribeKey"})
_SYMMETRIC = frozenset(
    {"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
     "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"}
)  # fmt: skip
_OF_USAGE: Mapping[str, frozenset[str]] = {
    "ENCRYPT_DECRYPT": frozenset({"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GetPublicKey"}),
    "SIGN_VERIFY": frozenset({"Sign", "Verify", "GetPublicKey"}),
    "GENERATE_VERIFY_MAC": frozenset({"GenerateMac", "VerifyMac"}),
    "KEY_AGREEMENT": frozenset({"DeriveSharedSecret", "GetPublicKey"}),
    "ENCAPSULATE_DECAPSULATE": frozenset({"Encapsulate", "Decapsulate", "GetPublicKey"}),
}


class Named(NamedTuple):
    """The grant that a token names."""

    scope: Scope
    key_id: str
    grant_id: str


def terms(
    grantee: str,
    operations: Iterable[str],
    *,
    grantee_is_service: bool = False,
    retiring: str | None = None,
    retiring_is_service: bool = False,
    equals: Mapping[str, str] | None = None,
    subset: Mapping[str, str] | None = None,
    source_arn: str | None = None,
) -> Terms:
    """The terms of a grant. An empty constraint is none."""
    return Terms(
        grantee=grantee,
        grantee_is_service=grantee_is_service,
        retiring=retiring,
        retiring_is_service=retiring_is_service,
        operations=" ".join(sorted(set(operations))),
        equals=json.dumps(equals, sort_keys=True) if equals else None,
        subset=json.dumps(subset, sort_keys=True) if subset else None,
        source_arn=source_arn,
    )


def check(given: Terms, spec: str, usage: str) -> None:
    """Nothing, where a key of this spec and usage may have a grant with these terms.

    Raises:
        ValidationFailed: it may not.
    """
    operations = set(given.operations.split())
    if not operations:
        raise ValidationFailed("A grant must contain at least one operation.")
    if operations == {"CreateGrant"}:
        raise ValidationFailed("Grants must not contain only the CreateGrant operation.")
    symmetric = spec == specs.SYMMETRIC
    unfit = sorted(operations - _ALWAYS - (_SYMMETRIC if symmetric else _OF_USAGE[usage]))
    if unfit:
        raise ValidationFailed(
            f"{', '.join(unfit)} cannot be granted on a key with key spec {spec} and key usage {usage}."
        )
    if given.grantee_is_service and (given.source_arn is None or given.retiring is None):
        raise ValidationFailed(
            "A grant to a service principal must have a SourceArn constraint and a retiring principal."
        )
    for text in (given.equals, given.subset):
        _check_constraint({} if text is None else json.loads(text), symmetric=symmetric)


def _check_constraint(pairs: Mapping[str, str], *, symmetric: bool) -> None:
    if not pairs:
        return
    if not symmetric:
        raise ValidationFailed(
            "An encryption context constraint can only be used in grants on symmetric encryption KMS keys."
        )
    if len(pairs) > _MOST_PAIRS:
        raise ValidationFailed(f"A grant constraint can have up to {_MOST_PAIRS} encryption context pairs.")
    if any(len(value) > _LONGEST_VALUE for value in pairs.values()):
        raise ValidationFailed(f"A value of a grant constraint can have up to {_LONGEST_VALUE} characters.")


class Grants:
    """The grants on every key. Where a key is changed, it was locked, and is given as it is afterwards."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._secret: bytes | None = None
        self._held: dict[tuple[object, ...], tuple[KeyGrant, ...]] = {}

    # --- given and taken

    def create(
        self, tx: Tx, key: Key, given: Terms, *, issuer: str, now: datetime, name: str | None = None
    ) -> KeyGrant:
        """A grant with these terms, given by the account `issuer`; the one that there is (rule 3).

        Raises:
            KeyDisabled, KeyInvalidState, AccessDenied: the key takes none.
            ValidationFailed: the terms are not for this key.
            LimitExceeded: it has as many as it may have.
        """
        states.require_customer(key.manager, key.arn)
        states.check("CreateGrant", key.state, key.origin, key.arn)
        check(given, key.spec, key.usage)
        if name is not None:
            for there in self._of(tx, key, given.grantee):
                if (there.name, there.terms, there.issuer) == (name, given, issuer):
                    return there
        if key.grants >= MOST:
            raise LimitExceeded(f"{key.arn} has {MOST} grants, which is the most that a key may have.")
        made = KeyGrant(
            **_where(key),
            **given._asdict(),
            grant_id=secrets.token_hex(32),
            name=name,
            issuer=issuer,
            created=to_epoch(now),
            copy_of=None,
        )
        rows.insert_grant.run(tx, **made._asdict())
        _count(tx, key, 1)
        return made

    @staticmethod
    def delete(tx: Tx, key: Key, grant_id: str) -> Key:
        """End a grant.

        Raises:
            InvalidGrantId, KeyNotFound: there is none with this id.
        """
        Grants.get(tx, key, grant_id)
        rows.delete_grant.run(tx, **_where(key), grant_id=grant_id)
        return _count(tx, key, -1)

    @staticmethod
    def copy(tx: Tx, source: Key, key: Key, now: datetime) -> Key:
        """Let `key` have the grants of `source`, as they stand now, beside grants of its own.

        A grant is copied once: a copy keeps in mind what it is a copy of, and goes when that is gone.
        """
        if not source.grants and not key.grants:
            return key
        theirs = {row[3]: rows.as_grant(row) for row in rows.of_key.all(tx, **_where(source))}
        ours = [rows.as_grant(row) for row in rows.of_key.all(tx, **_where(key))]
        copied = {grant.copy_of: grant for grant in ours if grant.copy_of is not None}
        gone = [grant for former, grant in copied.items() if former not in theirs]
        missing = [grant for former, grant in theirs.items() if former not in copied]
        for grant in gone:
            rows.delete_grant.run(tx, **_where(key), grant_id=grant.grant_id)
        for grant in missing:
            made = grant._replace(
                **_where(key), grant_id=secrets.token_hex(32), created=to_epoch(now), copy_of=grant.grant_id
            )
            rows.insert_grant.run(tx, **made._asdict())
        return _count(tx, key, len(missing) - len(gone)) if gone or missing else key

    # --- found

    @staticmethod
    def get(tx: Tx, key: Key, grant_id: str) -> KeyGrant:
        """A grant on `key`.

        Raises:
            InvalidGrantId, KeyNotFound: there is none with this id.
        """
        require_id(grant_id)
        row = rows.grant.first(tx, **_where(key), grant_id=grant_id)
        if row is None:
            raise KeyNotFound(f"Grant '{grant_id}' does not exist on {key.arn}.")
        return rows.as_grant(row)

    @staticmethod
    def page(
        tx: Tx,
        key: Key,
        *,
        after: str | None = None,
        most: int,
        grantee: str | None = None,
        is_service: bool = False,
    ) -> list[KeyGrant]:
        """At most `most` grants on `key` behind the grant id `after`: all, or those of a grantee."""
        where = {**_where(key), "after": after or "", "most": most}
        if grantee is None:
            found = rows.after.all(tx, **where)
        else:
            found = rows.of_grantee_after.all(tx, grantee=grantee, is_service=is_service, **where)
        return [rows.as_grant(row) for row in found]

    @staticmethod
    def retirable(tx: Tx, region: str, principal: str, *, after: str | None = None, most: int) -> list[KeyGrant]:
        """At most `most` grants of a Region behind the grant id `after` whose retiring principal is `principal`."""
        found = rows.retirable_after.all(tx, region=region, retiring=principal, after=after or "", most=most)
        return [rows.as_grant(row) for row in found]

    def held(self, tx: Tx, key: Key, names: Sequence[str], *, remembered: bool) -> tuple[KeyGrant, ...]:
        """The grants on `key` whose grantee is one of `names`.

        `remembered`: read once for each change of the key's grants. Only for what is committed: a change may be undone.
        """
        if not key.grants:
            return ()
        if not remembered:
            return self._of(tx, key, *names)
        # The serial of a replica that was deleted and made anew begins anew; not so the instant.
        known = (key.account, key.region, key.key_id, key.created, key.grant_serial, *names)
        found = self._held.get(known)
        if found is None:
            if len(self._held) >= _REMEMBERED:
                self._held.clear()
            found = self._held[known] = self._of(tx, key, *names)
        return found

    @staticmethod
    def _of(tx: Tx, key: Key, *names: str) -> tuple[KeyGrant, ...]:
        where = _where(key)
        return tuple(rows.as_grant(row) for name in names for row in rows.of_grantee.all(tx, **where, grantee=name))

    # --- tokens

    def token(self, tx: Tx, grant: KeyGrant) -> str:
        """A new token of a grant. In a transaction that may write."""
        told = json.dumps([grant.account, grant.region, grant.key_id, grant.grant_id]).encode()
        body = os.urandom(_NONCE) + told
        return base64.urlsafe_b64encode(_mac(self._own_secret(tx) or self._new_secret(tx), body) + body).decode()

    def named(self, tx: Tx, token: str, *, remembered: bool = False) -> Named:
        """What a token names, whether it is there still or not. `remembered`: as of `held`, the secret.

        Raises:
            InvalidGrantToken: it is no token of ours.
        """
        secret = self._secret or self._own_secret(tx)
        if remembered:
            self._secret = secret
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
        except ValueError:  # also where there are other characters than those of ASCII
            raw = b""
        body = raw[_MAC:]
        if secret is None or not hmac.compare_digest(raw[:_MAC], _mac(secret, body)):
            raise InvalidGrantToken("The grant token is not valid.")
        return _told(body)

    def _own_secret(self, tx: Tx) -> bytes | None:
        row = key_rows.installation.first(tx, name=_SECRET)
        return None if row is None else self._root.unwrap(row[0], _SECRET).reveal()

    def _new_secret(self, tx: Tx) -> bytes:
        made = os.urandom(32)
        key_rows.insert_installation.run(tx, name=_SECRET, value=self._root.wrap(tx, made, _SECRET))
        return made


def require_id(grant_id: str) -> None:
    """Nothing, where `grant_id` has the form of one.

    Raises:
        InvalidGrantId: it has not.
    """
    if not _GRANT_ID.fullmatch(grant_id):
        raise InvalidGrantId("The grant ID is not valid.")


def told_by(token: str) -> Named | None:
    """What a token says, which is true of one that was found to be ours; None where it says nothing."""
    with suppress(ValueError, TypeError):
        return _told(base64.b64decode(token, altchars=b"-_", validate=True)[_MAC:])
    return None


def _told(body: bytes) -> Named:
    account, region, key_id, grant_id = json.loads(body[_NONCE:])
    return Named(Scope(account, region), key_id, grant_id)


def _mac(secret: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, b"grant token " + body, "sha256")


def _where(key: Key) -> dict[str, Any]:
    return {"account": key.account, "region": key.region, "key_id": key.key_id}


def _count(tx: Tx, key: Key, more: int) -> Key:
    rows.count.run(tx, row_account=key.account, row_region=key.region, row_key=key.key_id, more=more)
    return key._replace(grants=key.grants + more, grant_serial=key.grant_serial + 1)
