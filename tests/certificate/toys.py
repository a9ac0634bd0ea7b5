"""Engines that do it in a wrong order, as others have: each loses a credential, and the certificate must find it out.

A toy is installed into a victim's process, which it changes for good.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from keywheel.rotation import driver, machine
from keywheel.rotation.machine import Outcome, Step
from keywheel.rotation.steps import SecretStore, Terms, run_step
from keywheel.rotator import NO_FENCE, Credential, Fence, Strategy
from keywheel.sensitive import Sensitive


@dataclass(frozen=True, slots=True)
class Toy:
    """An engine by what is wrong with it."""

    name: str
    install: Callable[[dict[str, Strategy]], None]


def _right(_: dict[str, Strategy]) -> None:
    """The engine as it is."""


def _effect_inside_the_transaction(_: dict[str, Strategy]) -> None:
    """The value is written down in the transaction that also stands for the change: the target hears of it first."""

    def run(strategy: Strategy, store: SecretStore, secret: str, token: str, step: Step, terms: Terms) -> None:
        run_step(strategy, _Noted(store, strategy, secret), secret, token, step, terms)

    _replace("run_step", run)


class _Noted:
    """A store that changes the target before it writes down what to."""

    def __init__(self, store: SecretStore, strategy: Strategy, secret: str) -> None:
        self._store = store
        self._strategy = strategy
        self._secret = secret

    def put(self, secret_id: str, version: str, value: Credential) -> None:
        """The change, then the note of it, which is committed later."""
        by = _who(self._store, self._secret)
        target: Any = self._strategy.target
        if hasattr(target, "clone_user") and by.username != value.username:
            user = value.username.removesuffix("_clone")
            names = (user, f"{user}_clone")
            original, clone = (value.replace(password=value.password, username=name) for name in names)
            target.clone_user(original, clone, by=by)
        target.set_password(value, by=by)
        self._store.put(secret_id, version, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def _who(store: SecretStore, secret: str) -> Credential:
    current = store.get(secret, store.labels(secret)["AWSCURRENT"])
    assert current is not None
    if "masterarn" not in current.fields:
        return current
    master = current.text("masterarn")
    superuser = store.get(master, store.labels(master)["AWSCURRENT"])
    assert superuser is not None
    return superuser


def _no_intent(_: dict[str, Strategy]) -> None:
    """The value is drawn when it is set, and written down when that has succeeded."""

    def run(strategy: Strategy, store: SecretStore, secret: str, token: str, step: Step, terms: Terms) -> None:
        if step is not Step.SET:
            run_step(strategy, store, secret, token, step, terms)
            return
        pending = store.get(secret, token)
        assert pending is not None
        other = pending.replace(password=Sensitive(secrets.token_hex(16)))
        strategy.set(other, _Fresh(store, secret, terms))
        _overwrite(store, secret, token, other)

    _replace("run_step", run)


class _Fresh:
    """A context that believes it is the first."""

    def __init__(self, store: SecretStore, secret: str, terms: Terms) -> None:
        self._store, self._secret, self._terms = store, secret, terms
        self.may_have_landed = False
        self.fence, self.logins, self.ends_sessions = terms.fence, terms.logins, False

    @property
    def current(self) -> Credential:
        current = self._store.get(self._secret, self._store.labels(self._secret)["AWSCURRENT"])
        assert current is not None
        return current

    @property
    def previous(self) -> None:
        return None

    def superuser(self) -> Credential | None:
        return None if "masterarn" not in self.current.fields else _who(self._store, self._secret)

    def new_password(self, *, length: int, exclude_characters: str) -> Sensitive[str]:
        return self._store.new_password(length=length, exclude_characters=exclude_characters)


def _overwrite(store: Any, secret: str, token: str, value: Credential) -> None:
    """Put a value where there is one already, with the step's transaction."""
    from keywheel.secrets.values import Value

    ledger, now = store._secrets, store._now
    sealed = Value.of_text(value.to_json().reveal())

    def effect(tx: Any, row: Any) -> None:
        ledger._store(tx, row, token, sealed, now, fill=True)

    store.effects.append(effect)


def _drops_the_pending_value(_: dict[str, Strategy]) -> None:
    """An error is taken for a no: what was pending is thrown away."""
    real = driver.Driver._save

    def save(self: Any, entry: Any, store: Any, strategy: Any, outcome: Outcome, failure: Any, seen: Any) -> Any:
        if outcome is Outcome.DONE or entry.rotation.step not in (Step.SET, Step.TEST):
            return real(self, entry, store, strategy, outcome, failure, seen)
        token = entry.rotation.token

        def drop(tx: Any) -> None:
            from keywheel.secrets import labels as staging

            secret = self._rotations._own(tx, entry)
            self._rotations._keep(tx, entry, machine.Rotation(), self._clock.now())
            secrets_room = self._secrets
            after = staging.drop_pending(secrets_room.labels(tx, secret), token)
            secrets_room.relabel(tx, secret, after, self._clock.now())
            secrets_room.drop_version(tx, secret, token)

        self._database.write(drop)
        return replace(entry, rotation=machine.Rotation())

    driver.Driver._save = save  # type: ignore[method-assign]


def _no_fence(_: dict[str, Strategy]) -> None:
    """A change is sent however late it is, and the target is not told of epochs."""
    terms = driver.Driver._terms

    def unfenced(self: Any, *args: Any, **kwargs: Any) -> Terms:
        return replace(terms(self, *args, **kwargs), fence=NO_FENCE)

    driver.Driver._terms = unfenced  # type: ignore[method-assign]
    Fence.seconds = _for_an_hour  # type: ignore[assignment, method-assign] # and its sessions wait for ever


def _for_an_hour(_: Fence) -> float:
    return 3_600.0


def _replace(name: str, function: Callable[..., Any]) -> None:
    setattr(driver, name, function)


RIGHT = Toy("keywheel", _right)
TOYS = (
    Toy("the change and its intent in one transaction", _effect_inside_the_transaction),
    Toy("no intent", _no_intent),
    Toy("drops the pending value on an error", _drops_the_pending_value),
    Toy("no fencing", _no_fence),
)
BY_NAME = {toy.name: toy for toy in (RIGHT, *TOYS)}
