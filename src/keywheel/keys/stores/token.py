"""A PKCS #11 token: its library, a session that is opened again when it was lost, and its objects by their ids.

A token can go away and come back. A call that fails opens the token anew and is tried once more; while that fails too,
callers are told at once that it is away, and it is asked again a second later. A refused PIN is never tried a second
time, because tokens lock themselves.

Importing this needs python-pkcs11, the extra `hsm`.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any, TypeVar

import pkcs11
from pkcs11 import Attribute, ObjectClass, PKCS11Error, exceptions

from keywheel.clock import Clock
from keywheel.errors import KeyStoreError, KeyUnavailable, UnsupportedOperation
from keywheel.sensitive import Sensitive

R = TypeVar("R")

_REST = 1.0  # seconds for which a token that did not open is not asked again
_KEPT = 1024  # objects that are remembered by their id
_BAD_PIN = (
    exceptions.PinIncorrect,
    exceptions.PinLocked,
    exceptions.PinExpired,
    exceptions.PinInvalid,
    exceptions.PinLenRange,
    exceptions.UserPinNotInitialized,
)
_CANNOT = (
    exceptions.MechanismInvalid,
    exceptions.MechanismParamInvalid,
    exceptions.ArgumentsBad,
    exceptions.FunctionNotSupported,
    exceptions.KeySizeRange,
    exceptions.DomainParamsInvalid,
)


class TokenAway(KeyUnavailable):
    """The token does not answer."""

    connection_code = "INSUFFICIENT_CLOUDHSM_HSMS"


class BadPin(KeyUnavailable):
    """The token refuses the PIN. It is not tried again."""

    default_hint = "Correct the PIN, then disconnect the key store and connect it again."

    def __init__(self, token: str, *, locked: bool) -> None:
        super().__init__(f"The PIN of the token {token} {'is locked' if locked else 'was refused'}.")
        self.connection_code = "USER_LOCKED_OUT" if locked else "INVALID_CREDENTIALS"


class Module:
    """A vendor's library in this process.

    It is initialised without locks of its own, so `lock` lets one call in at a time.
    """

    def __init__(self, path: str, clock: Clock) -> None:
        self.lock = RLock()
        self.clock = clock
        self.epoch = 0  # counts up whenever every session and object of the library became invalid
        self._path = path
        self._library: Any = None

    def reset(self) -> None:
        """Begin anew: the library looks again for tokens."""
        self.epoch += 1
        if self._library is not None and self._library.initialized:
            self._library.finalize()

    def token(self, label: str) -> Any:
        """The token of this label.

        Raises:
            PKCS11Error: there is no such library, or none of its slots has such a token.
        """
        if self._library is None:
            self._library = pkcs11.lib(self._path)
        elif not self._library.initialized:
            self._library.initialize()
        return self._library.get_token(token_label=label)


class Token:
    """A token by its label, logged in to. Nobody else in this process logs in to it."""

    def __init__(self, module: Module, label: str, pin: Callable[[], Sensitive[str]]) -> None:
        self._module = module
        self._label = label
        self._pin = pin
        self._session: Any = None
        self._epoch = -1
        self._rests_until = 0.0
        self._refused: BadPin | None = None
        self._objects: dict[tuple[str, bytes], Any] = {}

    def run(self, work: Callable[[Any], R], *, fresh: bool = False) -> R:
        """`work` with a session; once more with a new one, when it fails as if the token had been away.

        `fresh`: with a new one at once, where what the library remembers of the token must not count.

        Raises:
            KeyUnavailable: the token is away.
            BadPin: it takes our PIN no more.
            UnsupportedOperation: it cannot do that.
        """
        with self._module.lock:
            if not fresh and self._module.clock.monotonic() < self._rests_until:
                raise self._away()
            try:
                if fresh:
                    self._module.reset()
                try:
                    return work(self._open())
                except _CANNOT:
                    raise
                except PKCS11Error:
                    self._module.reset()
                return work(self._open())
            except _CANNOT:
                raise UnsupportedOperation(f"The token {self._label} cannot do that.") from None
            except PKCS11Error:
                self._rests_until = self._module.clock.monotonic() + _REST
                raise self._away() from None

    def _open(self) -> Any:
        if self._refused is not None:
            raise self._refused
        if self._session is None or self._epoch != self._module.epoch:
            self._objects.clear()
            token = self._module.token(self._label)
            try:
                self._session = token.open(rw=True, user_pin=self._pin().reveal())
            except _BAD_PIN as error:
                self._refused = BadPin(self._label, locked=isinstance(error, exceptions.PinLocked))
                raise self._refused from None
            self._epoch = self._module.epoch
        return self._session

    def _away(self) -> KeyUnavailable:
        return TokenAway(f"The token {self._label} is not available.")

    def close(self) -> None:
        """Log out."""
        with self._module.lock:
            session, self._session = self._session, None
            self._objects.clear()
            if session is None or self._epoch != self._module.epoch:
                return
            try:
                session.close()
            except PKCS11Error:
                try:
                    self._module.reset()  # whatever is left of it ends with the library
                except PKCS11Error:
                    return

    def here(self) -> None:
        """Nothing, when the token is there. For use in `run`: a token that is gone answers like an empty one.

        Raises:
            PKCS11Error: it is not.
        """
        self._module.token(self._label)

    # --- objects, for use in `run`

    def find(self, session: Any, identifier: bytes, kind: str) -> Any:
        """The object with this id of a class such as `SECRET_KEY`; None when there is none, or no token."""
        found = self._objects.get((kind, identifier))
        if found is None:
            objects = list(session.get_objects({Attribute.CLASS: ObjectClass[kind], Attribute.ID: identifier}))
            if len(objects) > 1:
                raise KeyStoreError(f"The token {self._label} has several objects with the id {identifier.hex()}.")
            if not objects:
                return None
            if len(self._objects) >= _KEPT:
                self._objects.clear()
            found = self._objects[kind, identifier] = objects[0]
        return found

    def key(self, session: Any, identifier: bytes, kind: str) -> Any:
        """The key with this id.

        Raises:
            PKCS11Error: there is none, or no token.
        """
        found = self.find(session, identifier, kind)
        if found is None:
            raise exceptions.ObjectHandleInvalid
        return found

    def destroy(self, identifier: bytes) -> None:
        """Destroy every object with this id; nothing, when there is none.

        Raises:
            KeyUnavailable: the token is away, so that nothing is known.
        """

        def work(session: Any) -> None:
            self.here()
            for each in list(session.get_objects({Attribute.ID: identifier})):
                each.destroy()
            for kind in ("SECRET_KEY", "PRIVATE_KEY", "PUBLIC_KEY"):
                self._objects.pop((kind, identifier), None)

        self.run(work, fresh=True)

    def require_kept(self, key: Any) -> None:
        """Nothing, when the token made the key itself and will never give it away.

        Raises:
            KeyStoreError: it did not, or would.
        """
        wanted = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.ALWAYS_SENSITIVE: True}
        wanted |= {Attribute.NEVER_EXTRACTABLE: True, Attribute.LOCAL: True, Attribute.PRIVATE: True}
        if any(key[attribute] is not value for attribute, value in wanted.items()):
            raise KeyStoreError(f"The token {self._label} does not keep this key to itself.")
