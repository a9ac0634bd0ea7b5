"""`run_step`: one step of one rotation. The waist of the house.

Three pairings pass through it unchanged: our engine with the ledger, a Lambda function with AWS Secrets Manager, and
the tests with either. It knows no clock, no database and no network but the target's, through the strategy.

Each step may be run again at any time:

* create never replaces a pending value that is there;
* set asks the target first whether the pending value works already, unless it was written a moment ago;
* test logs in; finish moves labels, and is done when they have moved;
* before set, the pending value is compared with what the strategy would have made;
* repair makes AWSCURRENT work again, with the help of whatever other credential was kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from keywheel.errors import Fenced, SecretMalformed
from keywheel.rotation.machine import Step
from keywheel.rotator import NO_FENCE, Credential, Fence, Logins, Strategy
from keywheel.sensitive import Sensitive
from keywheel.strategies import works

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


@runtime_checkable
class KeepingStore(SecretStore, Protocol):
    """A store that keeps versions which no label names any more."""

    def kept(self, secret_id: str) -> Sequence[str]:
        """Every version that has a value, the newest first."""
        ...


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a step may deal with its target.

    * `may_have_landed`: False only when this very run wrote the pending value down and has spoken to no target since.
    * `fence`: under which it may change the target. `logins`: counts the refused ones.
    * `ends_sessions`: whether retiring a credential also ends the sessions that it opened.
    """

    may_have_landed: bool = True
    fence: Fence = NO_FENCE
    logins: Logins = field(default_factory=Logins)
    ends_sessions: bool = False


@dataclass(frozen=True, slots=True)
class _Context:
    """What a strategy may know of the step."""

    store: SecretStore
    current: Credential
    previous: Credential | None
    terms: Terms

    @property
    def may_have_landed(self) -> bool:
        return self.terms.may_have_landed

    @property
    def fence(self) -> Fence:
        return self.terms.fence

    @property
    def logins(self) -> Logins:
        return self.terms.logins

    @property
    def ends_sessions(self) -> bool:
        return self.terms.ends_sessions

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
    strategy: Strategy, store: SecretStore, secret_id: str, token: str, step: Step, terms: Terms | None = None
) -> None:
    """Run `step` of the rotation whose pending version is `token`; for `retire`, the version to end.

    Raises:
        TargetError: it did not succeed; the class says what is known.
        Fenced: the version is not this rotation's any more.
    """
    labels = store.labels(secret_id)
    if step in _OF_PENDING:
        if labels.get(CURRENT) == token and labels.get(PENDING) != token:
            return  # finished before
        if labels.get(PENDING) != token:
            raise Fenced(f"Secret version {token} not set as {PENDING} for rotation of secret {secret_id}.")
    context = _context(store, secret_id, labels, terms or Terms())
    _RUN[step](strategy, store, secret_id, token, context)


def current_works(strategy: Strategy, store: SecretStore, secret_id: str, terms: Terms) -> bool:
    """Whether the target accepts the published credential.

    Raises:
        TargetError: that could not be found out; the class says why.
    """
    context = _context(store, secret_id, store.labels(secret_id), terms)
    _serves(strategy, context.current)
    return works(strategy.target, context.current, context)


def _context(store: SecretStore, secret_id: str, labels: Mapping[str, str], terms: Terms) -> _Context:
    current = store.get(secret_id, labels[CURRENT]) if CURRENT in labels else None
    if current is None:
        raise SecretMalformed("The secret has no value under AWSCURRENT.")
    previous = _readable(store, secret_id, labels[PREVIOUS]) if PREVIOUS in labels else None
    return _Context(store, current, previous, terms)


def _readable(store: SecretStore, secret_id: str, version: str) -> Credential | None:
    try:
        return store.get(secret_id, version)
    except SecretMalformed:
        return None  # an old value that is broken helps nobody, and harms nobody


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


def _repair(strategy: Strategy, store: SecretStore, secret_id: str, _: str, context: _Context) -> None:
    _serves(strategy, context.current)
    strategy.repair(known_credentials(store, secret_id), context)


def known_credentials(store: SecretStore, secret_id: str) -> list[Credential]:
    """Every credential of a secret that was kept, but the current one: the likeliest to work first."""
    labels = store.labels(secret_id)
    kept = store.kept(secret_id) if isinstance(store, KeepingStore) else ()
    ids = dict.fromkeys([*(labels[label] for label in (PENDING, PREVIOUS) if label in labels), *kept])
    found = [_readable(store, secret_id, version) for version in ids if version != labels.get(CURRENT)]
    return [credential for credential in found if credential is not None]


def _serves(strategy: Strategy, credential: Credential) -> None:
    engines = strategy.target.ENGINES
    if credential.text("engine") not in engines:
        raise SecretMalformed(f"engine in secret JSON must be set to '{engines[0]}'")
    strategy.target.place(credential)


_OF_PENDING = (Step.CREATE, Step.SET, Step.TEST, Step.FINISH)
_RUN = {
    Step.CREATE: _create,
    Step.SET: _set,
    Step.TEST: _test,
    Step.FINISH: _finish,
    Step.RETIRE: _retire,
    Step.REPAIR: _repair,
}
