"""The ledger as a step sees it: it reads at once, and keeps what it wants to write for the step's one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import InvalidRequest, ResourceNotFound, SecretMalformed
from keywheel.rotation import permission
from keywheel.rotation.engine import Effect
from keywheel.rotation.known import secret_texts
from keywheel.rotator import Credential
from keywheel.secrets import labels as staging
from keywheel.secrets import passwords
from keywheel.secrets.ledger import Secrets
from keywheel.secrets.passwords import PasswordRules
from keywheel.secrets.rows import Secret
from keywheel.secrets.values import Value
from keywheel.sensitive import Sensitive


class LedgerStore:
    """A `SecretStore` over our own rooms, for one step of one secret's rotation."""

    def __init__(self, database: Database, secrets: Secrets, secret: Secret, now: datetime) -> None:
        self._database = database
        self._secrets = secrets
        self._secret = secret
        self._now = now
        self.effects: list[Effect] = []
        self.written: Credential | None = None

    @property
    def arn(self) -> str:
        """The secret whose step this is."""
        return self._secret.arn

    def published(self) -> float | None:
        """When the version under AWSCURRENT was written."""
        with self._database.read() as tx:
            current = self._secrets.labels(tx, self._secret).get(staging.CURRENT)
            version = None if current is None else self._secrets.version(tx, self._secret, current)
        return None if version is None else version.created

    def labels(self, secret_id: str) -> Mapping[str, str]:
        """Which version each label is attached to, now."""
        with self._database.read() as tx:
            return self._secrets.labels(tx, self._find(tx, secret_id))

    def get(self, secret_id: str, version: str) -> Credential | None:
        """The credential of a version.

        Raises:
            SecretMalformed: it is none, or the key's policy forbids to open it.
        """
        with self._database.read() as tx:
            secret = self._find(tx, secret_id)
            found = self._secrets.version(tx, secret, version)
            if found is not None:
                permission.check(tx, self._secrets.vault.keys, secret, "Decrypt", found.key_arn, version)
            value = None if found is None else self._secrets.open(tx, secret, found)
        if value is None:
            return None
        if value.binary:
            raise SecretMalformed("The secret value is binary, not a JSON object.")
        return Credential.parse(value.text())

    def kept(self, secret_id: str) -> Sequence[str]:
        """Every version that has a value, the newest first."""
        with self._database.read() as tx:
            return self._secrets.versions_with_value(tx, self._find(tx, secret_id))

    def texts(self) -> list[str]:
        """What is secret in this secret and in its superuser's: never to be told."""
        with self._database.read() as tx:
            return secret_texts(tx, self._secrets, self._find(tx, self._secret.arn))

    def put(self, secret_id: str, version: str, value: Credential) -> None:
        """Remember to write the pending value with the step's transaction.

        Raises:
            KeyForbidden: the policy of the secret's key forbids it.
        """
        with self._database.read() as tx:
            keys, named = self._secrets.vault.keys, self._secret.kms_key_id
            permission.check(tx, keys, self._secret, "GenerateDataKey", named, version)
        self.written = value
        secret_value = Value.of_text(value.to_json().reveal())

        def effect(tx: Tx, secret: Secret) -> None:
            self._secrets.put(tx, secret, version, secret_value, (staging.PENDING,), self._now)

        self.effects.append(effect)

    def promote(self, secret_id: str, version: str) -> None:
        """Remember to move the labels with the step's transaction."""

        def effect(tx: Tx, secret: Secret) -> None:
            after = staging.promote(self._secrets.labels(tx, secret), version)
            self._secrets.relabel(tx, secret, after, self._now)

        self.effects.append(effect)

    def new_password(self, *, length: int, exclude_characters: str) -> Sensitive[str]:
        """A random password."""
        return passwords.generate(PasswordRules(length=length, exclude_characters=exclude_characters))

    def _find(self, tx: Tx, secret_id: str) -> Secret:
        try:
            return self._secrets.find(tx, self._secret.scope, secret_id)
        except (ResourceNotFound, InvalidRequest) as error:
            raise SecretMalformed(
                error.message, hint="Check that the secret exists in this account and Region."
            ) from None
