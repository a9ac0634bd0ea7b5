"""`run_step`: one step of one rotation. The waist of the house.

Three pairings pass through it unchanged: our engine with the ledger, a Lambda function with AWS Secrets Manager, and
the tests with either. It knows no clock, no database and no network but the target's, through the strategy.

Each step may be run again at any time:

* create never replaces a pending value that is there;
* set asks the target first whether the pending value works already, unless it was written a moment ago;
* test logs in; finish moves labels, and is done when they have moved;
* before set, the pending value is compared with what the strategy would have made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from keywheel.errors import Fenced, SecretMalformed
from keywheel.rotation.machine import Step
from keywheel.rotator import Credential, Strategy
from keywheel.sensitive import Sensitive

CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"


class SecretStore(Protocol):
    """Our own rooms, or anything that speaks the Secrets Manager API."""

    def labels(self, secret_id: str) -> Mapping[str, str]:
        """Which version each staging label is attached to.

        Raises:
            SecretMalformed: there is no such secret, or it may not be read.
        """
        ...

    def get(self, secret_id: str, version: str) -> Credential | None:
        """The credential of a version; None as long as it has no value."""
        ...

    def put(self, secret_id: str, version: str, value: Credential) -> None:
        """Write the pending value down, under AWSPENDING."""
        ...

    def promote(self, secret_id: str, version: str) -> None:
        """Make `version` AWSCURRENT."""
        ...

    def new_password(self, *, length: int, exclude_characters: str) -> Sensitive[str]:
        """A random password by the rules of GetRandomPassword."""
        ...


@dataclass(frozen=True, slots=True)
class _Context:
    """What a strategy may know of the step."""

    store: SecretStore
    current: Credential
    previous: Credential | None
    may_have_landed: bool

    def new_password(self, *, length: int, exclude_characters: str) -> Sensitive[str]:
        return self.store.new_password(length=length, exclude_characters=exclude_characters)

    def superuser(self) -> Credential | None:
        if "masterarn" not in self.current.fields:
            return None
        secret_id = self.current.text("masterarn")
        try:
            version = self.store.labels(secret_id).get(CURRENT)
            superuser = None if version is None else self.store.get(secret_id, version)
        except SecretMalformed as error:
            raise SecretMalformed(f"masterarn in secret JSON: {error.message}", hint=error.hint()) from None
        if superuser is None:
            raise SecretMalformed("masterarn in secret JSON names a secret that has no value")
        return superuser


def run_step(
    strategy: Strategy, store: SecretStore, secret_id: str, token: str, step: Step, *, may_have_landed: bool = True
) -> None:
    """Run `step` of the rotation whose pending version is `token`; for `retire`, the version to end.

    Raises:
        TargetError: it did not succeed; the class says what is known.
        Fenced: the version is not this rotation's any more.
    """
    labels = store.labels(secret_id)
    if step is not Step.RETIRE:
        if labels.get(CURRENT) == token and labels.get(PENDING) != token:
            return  # finished before
        if labels.get(PENDING) != token:
            raise Fenced(f"Secret version {token} not set as {PENDING} for rotation of secret {secret_id}.")
    context = _context(store, secret_id, labels, may_have_landed=may_have_landed)
    _RUN[step](strategy, store, secret_id, token, context)


def _context(store: SecretStore, secret_id: str, labels: Mapping[str, str], *, may_have_landed: bool) -> _Context:
    current = store.get(secret_id, labels[CURRENT]) if CURRENT in labels else None
    if current is None:
        raise SecretMalformed("The secret has no value under AWSCURRENT.")
    previous = None
    if PREVIOUS in labels:
        try:
            previous = store.get(secret_id, labels[PREVIOUS])
        except SecretMalformed:
            previous = None  # an old value that is broken helps nobody, and harms nobody
    return _Context(store, current, previous, may_have_landed)


def _pending(store: SecretStore, secret_id: str, token: str) -> Credential:
    pending = store.get(secret_id, token)
    if pending is None:
        raise SecretMalformed("The secret has no value under AWSPENDING.")
    return pending


def _create(strategy: Strategy, store: SecretStore, secret_id: str, token: str, context: _Context) -> None:
    _serves(strategy, context.current)
    if store.get(secret_id, token) is None:
        store.put(secret_id, token, strategy.create(context))


def _set(strategy: Strategy, store: SecretStore, secret_id: str, token: str, context: _Context) -> None:
    pending = _pending(store, secret_id, token)
    strategy.check(pending, context)
    strategy.set(pending, context)


def _test(strategy: Strategy, store: SecretStore, secret_id: str, token: str, context: _Context) -> None:
    strategy.test(_pending(store, secret_id, token), context)


def _finish(_: Strategy, store: SecretStore, secret_id: str, token: str, __: _Context) -> None:
    store.promote(secret_id, token)


def _retire(strategy: Strategy, store: SecretStore, secret_id: str, token: str, context: _Context) -> None:
    old, current = store.get(secret_id, token), context.current
    # Somebody may have gone back to it; then it is not old.
    if old is not None and (old.username, old.password) != (current.username, current.password):
        strategy.retire(old, context)


def _serves(strategy: Strategy, credential: Credential) -> None:
    engines = strategy.target.ENGINES
    if credential.text("engine") not in engines:
        raise SecretMalformed(f"engine in secret JSON must be set to '{engines[0]}'")
    strategy.target.place(credential)


_RUN = {Step.CREATE: _create, Step.SET: _set, Step.TEST: _test, Step.FINISH: _finish, Step.RETIRE: _retire}
