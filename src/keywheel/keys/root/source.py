"""Where a server has its root key from, now and after a rotation.

Beside the root key's file may stand a second one, of the same name and `.next`: the next root key. Both are read; which
of them wraps, the database says. So the two files may be put in place, and away, at any time before and after the
database changes over, and in any order on any number of machines. A passphrase's file has such a neighbour, too.

At the end of a rotation the next file takes the place of the first, and that stays beside as `root.key.<id>`: nothing
reads it any more, but backups made before need it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from keywheel.clock import Clock, SystemClock
from keywheel.config import Settings
from keywheel.errors import ConfigurationError, KeyStoreError
from keywheel.keys.root import unseal
from keywheel.keys.root.ring import RootRing, root_key_id
from keywheel.keys.root.token import RootToken
from keywheel.sensitive import Sensitive

KINDS = {"file": "raw", "passphrase": "argon2id", "token": "pkcs11"}
"""What a root key's file can be made from, by the names that people use."""

_PRESENT = "Passphrase of the root key"
_NEW = "Passphrase of the new root key"
_PIN = "PIN of the root key's token"
_REST = 5.0  # seconds for which files that could not be read are not read again


@dataclass
class RootSource:
    """The root key's file and its neighbour.

    `ask` gives a passphrase or PIN that is in no file; what it says is remembered for as long as the process lives, so
    that the files can be read again without it.
    """

    path: Path
    passphrase: Path | None = None
    place: tuple[str, str] | None = None  # of the token: its module and label
    pin: Path | None = None
    ask: Callable[[str], Sensitive[str]] | None = None
    _said: dict[str, Sensitive[str]] = field(default_factory=dict, repr=False)
    _seen: tuple[object, ...] = field(default=(), repr=False)
    _clock: Clock = field(default_factory=SystemClock, repr=False)
    _rests_until: float = 0.0

    @classmethod
    def of(cls, settings: Settings, ask: Callable[[str], Sensitive[str]] | None = None) -> RootSource:
        """What the settings describe."""
        file = None if settings.passphrase_file is None else Path(settings.passphrase_file)
        pin = None if settings.root_key_pin_file is None else Path(settings.root_key_pin_file)
        place = None
        if settings.root_key_module is not None and settings.root_key_token is not None:
            place = (settings.root_key_module, settings.root_key_token)
        return cls(settings.root_key_path, file, place, pin, ask)

    @property
    def token(self) -> RootToken | None:
        """The token that opens the file, where one does."""
        return None if self.place is None else RootToken(*self.place, self._pin)

    @property
    def next_path(self) -> Path:
        """Where the next root key's file is."""
        return _neighbour(self.path)

    @property
    def kind(self) -> str:
        """What the present root key's file is made from: `file`, `passphrase` or `token`.

        Raises:
            KeyStoreError: it is no root key's file.
        """
        kind = unseal.kind_of(self.path)
        return next((name for name, word in KINDS.items() if word == kind), kind)

    # --- reading

    def ring(self) -> RootRing:
        """The root keys that are there; a ring that finds those that come.

        Raises:
            KeyStoreError: the first file, or the one beside it, gives no root key.
        """
        seen = self._stamp()
        keys = self.first_keys()
        if self.has_next():
            keys.append(self.next_key())
        self._seen = seen
        return RootRing(keys, self._news)

    def has_next(self) -> bool:
        """Whether there is a next root key's file."""
        return self.next_path.exists()

    def next_key(self) -> Sensitive[bytes]:
        """The next root key.

        Raises:
            KeyStoreError: there is none, or it cannot be had.
        """
        return unseal.load_root_key(self.next_path, self._next_passphrase, self.token)

    def first_keys(self) -> list[Sensitive[bytes]]:
        """The root key of the first file. The next passphrase is tried, too, where that makes another one of it.

        Raises:
            KeyStoreError: there is none, or it cannot be had.
        """
        found = [unseal.load_root_key(self.path, self._passphrase, self.token)]
        if self._has_next_passphrase() and self.kind == "passphrase":
            found.append(unseal.load_root_key(self.path, self._next_passphrase))
        return found

    def _has_next_passphrase(self) -> bool:
        return self.passphrase is not None and _neighbour(self.passphrase).exists()

    def _passphrase(self) -> Sensitive[str]:
        return self._say(_PRESENT) if self.passphrase is None else first_line(self.passphrase)

    def _pin(self) -> Sensitive[str]:
        return self._say(_PIN) if self.pin is None else first_line(self.pin)

    def _next_passphrase(self) -> Sensitive[str]:
        if self.passphrase is None:
            # Where nobody can be asked, the new root key may still be of the same passphrase.
            return self._say(_NEW if self.ask is not None or _NEW in self._said else _PRESENT)
        return first_line(_neighbour(self.passphrase) if self._has_next_passphrase() else self.passphrase)

    def _say(self, what: str) -> Sensitive[str]:
        if what not in self._said:
            if self.ask is None:
                raise KeyStoreError(
                    f"Nobody is there to be asked for: {what}.",
                    hint="Name its file (passphrase_file, root_key_pin_file), or start the server anew.",
                )
            self._said[what] = self.ask(what)
        return self._said[what]

    def _news(self) -> list[Sensitive[bytes]]:
        """The keys, when a file has changed since they were read. Asks nobody."""
        stamp = self._stamp()
        if stamp == self._seen:
            return []
        if self._clock.monotonic() < self._rests_until:
            return []
        reader = replace(self, ask=None)  # shares what was said
        found: list[Sensitive[bytes]] = []
        try:
            found += [reader.next_key()] if reader.has_next() else []
            found += reader.first_keys()
            self._seen = stamp
        except (KeyStoreError, ConfigurationError):  # a file is being written, a token is away
            self._rests_until = self._clock.monotonic() + _REST
        return found

    def _stamp(self) -> tuple[object, ...]:
        paths = [self.path, self.next_path]
        if self.passphrase is not None:
            paths += [self.passphrase, _neighbour(self.passphrase)]
        return tuple(_stamp(path) for path in paths)

    # --- making and moving

    def make(self, path: Path, kind: str, passphrase: Sensitive[str] | None) -> None:
        """Write a new root key's file.

        Raises:
            ConfigurationError: it exists already, or cannot be written, or the passphrase is too short.
            KeyStoreError: no token is configured, or it is away.
        """
        if kind != "token":
            unseal.create_root_key(path, (passphrase or self._passphrase()) if kind == "passphrase" else None)
            return
        if self.token is None:
            raise KeyStoreError("No token is configured.", hint="Set root_key_module and root_key_token.")
        unseal.create_token_root_key(path, self.token)

    def make_next(self, kind: str, passphrase: Sensitive[str] | None) -> None:
        """Write the next root key's file, from `passphrase` or the present one where it needs one.

        A new passphrase is written beside the present one's file, if that has one; else it is remembered.

        Raises:
            ConfigurationError, KeyStoreError: as by `make`.
        """
        if kind == "passphrase":
            passphrase = passphrase or self._passphrase()
            unseal.require_strong(passphrase)
            self._said[_NEW] = passphrase
            if self.passphrase is not None:
                unseal.replace(_neighbour(self.passphrase), f"{passphrase.reveal()}\n")
        self.make(self.next_path, kind, passphrase)

    def finish(self, current: str, former: str) -> list[Path]:
        """Put the next root key's file, whose key is `current`, in the place of the first; the files that it leaves.

        What it finds done already it leaves alone.

        Raises:
            ConfigurationError: a file cannot be moved: whoever put it there must.
        """
        kept = []
        try:
            if self.has_next() and root_key_id(self.next_key()) == current:
                kept.append(_move(self.path, former))
            if self._has_next_passphrase() and self._is_made_from_the_next_passphrase(current):
                assert self.passphrase is not None
                kept.append(_move(self.passphrase, former))
        except OSError as error:
            raise ConfigurationError(
                f"{self.next_path} cannot be put in the place of {self.path} ({error.strerror}).",
                hint="Where the root key is given from outside, give the new one as the first now, and no next one.",
            ) from None
        return kept

    def _is_made_from_the_next_passphrase(self, current: str) -> bool:
        if self.kind != "passphrase":
            return False
        return root_key_id(unseal.load_root_key(self.path, self._next_passphrase)) == current


def first_line(path: Path) -> Sensitive[str]:
    """The passphrase or PIN in a file.

    Raises:
        ConfigurationError: it cannot be read, or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({type(error).__name__}).") from None
    if not text:
        raise ConfigurationError(f"{path} is empty.")
    return Sensitive(text)


def _neighbour(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


def _move(path: Path, former: str) -> Path:
    kept = path.with_name(f"{path.name}.{former}")
    with suppress(FileExistsError):
        os.link(path, kept)
    _neighbour(path).replace(path)
    unseal.sync_directory(path.parent)
    return kept


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
