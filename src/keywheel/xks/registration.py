"""Who may call the proxy, and which keys it serves: a small file, read again when it changed.

Several credentials may stand in it at once, so that the secret half rotates without a gap: add the new one, tell AWS
KMS of it by UpdateCustomKeyStore, take the old one out. No restart is needed for that.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import structlog
from msgspec import Meta, Struct

from keywheel.arn import Scope
from keywheel.errors import ConfigurationError
from keywheel.sensitive import Sensitive

_log = structlog.get_logger("keywheel.xks")

_AccessKeyId = Annotated[str, Meta(min_length=20, max_length=30, pattern=r"\A[A-Z2-7]+\Z")]
_Secret = Annotated[str, Meta(min_length=43, max_length=64, pattern=r"\A[a-zA-Z0-9/+=]+\Z")]
_Path = Annotated[str, Meta(max_length=128, pattern=r"\A(/[a-zA-Z0-9/_-]+)?/kms/xks/v1\Z")]
_HINT = "docs/operations/key-stores.md shows the file."


class _Credential(Struct, frozen=True, forbid_unknown_fields=True):
    access_key_id: _AccessKeyId
    secret_access_key: _Secret

    def __repr__(self) -> str:
        return "_Credential(…)"


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    account: Annotated[str, Meta(pattern=r"\A[0-9]{12}\Z")]
    region: Annotated[str, Meta(min_length=1)]
    credential: Annotated[tuple[_Credential, ...], Meta(min_length=1)]
    keys: tuple[str, ...] = ()
    path: _Path = "/kms/xks/v1"


class Registration:
    """One version of the file."""

    def __init__(self, file: _File) -> None:
        self.scope = Scope(file.account, file.region)
        self.path = file.path
        self.keys = frozenset(file.keys)
        self._secrets = {each.access_key_id: Sensitive(each.secret_access_key) for each in file.credential}

    def secret(self, access_key_id: str) -> Sensitive[str] | None:
        """The secret half of a credential; None when there is none of this id."""
        return self._secrets.get(access_key_id)


class RegistrationFile:
    """The file, and what it said when it was read last.

    Raises:
        ConfigurationError: it cannot be read, or is not valid.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen, self._current = self._read()

    def current(self) -> Registration:
        """What the file says now; what it said before, when it is not valid now."""
        try:
            if _state(self._path) != self._seen:
                self._seen, self._current = self._read()
        except (OSError, ConfigurationError) as error:
            _log.error("xks.registration.unreadable", file=str(self._path), error=type(error).__name__)
        return self._current

    def _read(self) -> tuple[Any, Registration]:
        try:
            seen = _state(self._path)
            file = msgspec.convert(tomllib.loads(self._path.read_text(encoding="utf-8")), _File)
        except OSError as error:
            raise ConfigurationError(f"{self._path} cannot be read: {error.strerror}.", hint=_HINT) from None
        except (msgspec.ValidationError, ValueError) as error:  # its text names the member, and never quotes it
            told = str(error) if isinstance(error, msgspec.ValidationError) else "it is not TOML"
            raise ConfigurationError(f"{self._path} is not valid: {told}", hint=_HINT) from None
        return seen, Registration(file)


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
