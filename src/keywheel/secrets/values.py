"""Secret values: sealed when they are put, opened when they are read, and never on disk in between.

The encryption context of a version is exactly `{"SecretARN": …, "SecretVersionId": …}`, as AWS documents it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from keywheel.arn import Scope, SecretRef, parse_secret_id
from keywheel.clock import epoch_day
from keywheel.db.statement import Row, Tx
from keywheel.errors import (
    DecryptionFailure,
    EncryptionFailure,
    InvalidParameter,
    InvalidRequest,
    KeywheelError,
    ResourceNotFound,
)
from keywheel.keys import ciphertext, envelope
from keywheel.keys.errors import InvalidKeyUsage, KeyDisabled, KeyInvalidState, KeyNotFound
from keywheel.keys.keyring import DEFAULT_ALIAS, Key, Keys
from keywheel.secrets import rows
from keywheel.secrets.rows import Secret, Version
from keywheel.sensitive import Sensitive


@dataclass(frozen=True, slots=True)
class Value:
    """A secret value: text (as UTF-8) or binary."""

    data: Sensitive[bytes]
    binary: bool = False

    @classmethod
    def of_text(cls, text: str) -> Value:
        """The value of a SecretString."""
        return cls(Sensitive(text.encode()))

    def text(self) -> Sensitive[str]:
        """The value as a SecretString."""
        return Sensitive(self.data.reveal().decode())


@dataclass(frozen=True, slots=True)
class Sealed:
    """What the store keeps of a value. `key_arn` is None for the default key."""

    key_arn: str | None
    data_key: bytes
    sealed: bytes


class Found(Struct, frozen=True):
    """What decides whether a value may be read. `key_arn` is None for the default key."""

    arn: str
    policy: str | None
    tags: str
    version_id: str | None
    key_arn: str | None


class Reading(Struct, frozen=True):
    """What GetSecretValue answers. `first_today` asks the caller to remember the access."""

    secret_id: int
    arn: str
    name: str
    version_id: str
    created: float
    labels: list[str]
    value: Value
    first_today: bool


Permit = Callable[[Found | None], None]


def named_key(scope: Scope, kms_key_id: str | None) -> str | None:
    """What a KmsKeyId names; None for the default key of the scope, however it is spelled."""
    default = (None, "", DEFAULT_ALIAS, scope.arn("kms", DEFAULT_ALIAS))
    return None if kms_key_id in default else kms_key_id


def _pairs(arn: str, version_id: str) -> dict[str, str]:
    return {"SecretARN": arn, "SecretVersionId": version_id}


def _context(arn: str, version_id: str) -> bytes:
    return ciphertext.context_bytes(_pairs(arn, version_id))


def _cannot_encrypt(error: KeywheelError) -> EncryptionFailure:
    return EncryptionFailure(
        f"Secrets Manager can't encrypt the protected secret text using the provided KMS key: {error.message}",
        hint=error.hint(),
    )


class Vault:
    """Seals and opens values with the keys room."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    @property
    def keys(self) -> Keys:
        """What it seals and opens with."""
        return self._keys

    def seal(self, tx: Tx, secret: Secret, version_id: str, value: Value, now: datetime) -> Sealed:
        """`value` under a new data key of the secret's key.

        Raises:
            EncryptionFailure: the key that the secret names does not exist any more, or cannot be used.
        """
        key, named = self.key(tx, secret.scope, secret.kms_key_id, now)
        context = _context(secret.arn, version_id)
        try:
            data_key, wrapped = self._keys.generate_data_key(tx, key, context)
        except (KeyDisabled, KeyInvalidState, InvalidKeyUsage) as error:
            raise _cannot_encrypt(error) from None
        sealed = envelope.seal(value.data.reveal(), data_key, context)
        return Sealed(key.arn if named else None, wrapped, sealed)

    def key(self, tx: Tx, scope: Scope, kms_key_id: str | None, now: datetime) -> tuple[Key, bool]:
        """The key that `kms_key_id` names, and whether it is another than the default.

        Raises:
            EncryptionFailure: there is no such key.
        """
        named = named_key(scope, kms_key_id)
        if named is None:
            return self._keys.default(tx, scope, now=now), False
        try:
            return self._keys.resolve(tx, scope, named), True
        except (ResourceNotFound, InvalidParameter) as error:
            raise _cannot_encrypt(error) from None

    def present_key(self, tx: Tx, scope: Scope, kms_key_id: str | None, now: datetime) -> tuple[Key, bool] | None:
        """As `key`, without making the default key: None as long as it was not needed.

        Raises:
            EncryptionFailure: there is no such key.
        """
        if named_key(scope, kms_key_id) is not None:
            return self.key(tx, scope, kms_key_id, now)
        try:
            return self._keys.find(tx, scope, DEFAULT_ALIAS, now=now, aliases=True), False
        except KeyNotFound:
            return None

    def wrap_again(self, tx: Tx, arn: str, version_id: str, data_key: bytes, sealed: bytes, key: Key) -> bytes:
        """The data key of a version, wrapped by the current backing key of `key`: the value was opened with it.

        Raises:
            DecryptionFailure: the version does not open, before or afterwards.
            CallerError: `key` cannot be used.
            KeyStoreError: a key store is away.
        """
        context, region = _context(arn, version_id), arn.split(":", 4)[3]
        before = self._keys.decrypt(tx, data_key, context, region=region)
        value = Sensitive(envelope.unseal(sealed, before, context))
        wrapped = self._keys.ciphers.encrypt(tx, key, before, _pairs(arn, version_id))
        after = self._keys.decrypt(tx, wrapped, context, region=region)
        if Sensitive(envelope.unseal(sealed, after, context)) != value:
            raise DecryptionFailure("The value does not open as it did before.")
        return wrapped

    def open(self, tx: Tx, arn: str, version: Version) -> Value | None:
        """The value of `version` of the secret `arn`; None as long as it has none."""
        if version.sealed is None or version.data_key is None:
            return None
        return self._open(tx, arn, version.version_id, version.binary, version.data_key, version.sealed)

    def _open(self, tx: Tx, arn: str, version_id: str, binary: bool, data_key: bytes, sealed: bytes) -> Value:
        context = _context(arn, version_id)
        data_key_plain = self._keys.decrypt(tx, data_key, context, region=arn.split(":", 4)[3])
        data = envelope.unseal(sealed, data_key_plain, context)
        return Value(Sensitive(data), bool(binary))

    # --- the hot read

    def read(
        self,
        tx: Tx,
        scope: Scope,
        secret_id: str,
        *,
        version_id: str | None,
        label: str | None,
        now: datetime,
        permit: Permit | None = None,
    ) -> Reading:
        """A value by version, by label, or by both when they agree; AWSCURRENT when neither is given.

        `permit` is asked, with what was found, or None where there is no such secret, before anything is told or
        opened.

        Raises:
            ResourceNotFound: no such secret, label or version, or it has no value.
            InvalidRequest: the secret is marked for deletion, or version and label do not agree.
        """
        stage = label or "AWSCURRENT"
        row = self._fetch(tx, parse_secret_id(secret_id, scope), version_id, stage)
        found = row if row is not None and f":{scope.region}:{scope.account}:" in row[1] else None
        if permit is not None:
            permit(None if found is None else Found(found[1], found[12], found[13], found[5], found[14]))
        if found is None:
            raise ResourceNotFound("Secrets Manager can't find the specified secret.")
        id_, arn, name, deleted, accessed, version, created, binary, data_key, sealed, used, held = found[:12]
        if deleted is not None:
            raise InvalidRequest("You can't perform this operation on the secret because it was marked for deletion.")
        if sealed is None:
            what = f"VersionId: {version_id}" if version_id is not None else f"staging label: {stage}"
            raise ResourceNotFound(f"Secrets Manager can't find the specified secret value for {what}")
        labels = [] if held is None else held.split(rows.SEPARATOR)
        if version_id is not None and label is not None and label not in labels:
            raise InvalidRequest("You provided a VersionStage that is not associated to the provided VersionId.")
        value = self._open(tx, arn, version, binary, data_key, sealed)
        today = epoch_day(now)
        return Reading(id_, arn, name, version, created, labels, value, accessed != today or used != today)

    @staticmethod
    def _fetch(tx: Tx, ref: SecretRef, version_id: str | None, label: str) -> Row | None:
        if ref.arn is not None:
            if version_id is not None:
                return rows.value_by_arn_and_version.first(tx, arn=ref.arn, version_id=version_id)
            return rows.value_by_arn_and_label.first(tx, arn=ref.arn, label=label)
        where = {"account": ref.scope.account, "region": ref.scope.region, "name": ref.name}
        if version_id is not None:
            return rows.value_by_name_and_version.first(tx, version_id=version_id, **where)
        return rows.value_by_name_and_label.first(tx, label=label, **where)
