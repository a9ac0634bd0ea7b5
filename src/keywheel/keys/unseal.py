"""The root key: where it comes from.

One small text file says how. Either it holds the key itself (`raw`, mode 0600), or only what Argon2id needs to make
the key from a passphrase (`argon2id`): then the file alone opens nothing.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keywheel.errors import ConfigurationError, KeyStoreError
from keywheel.sensitive import Sensitive

_HEAD = ("keywheel-root-key", "1")
_LENGTH = 32
# RFC 9106, second recommended option: 64 MiB, three passes, four lanes.
_ITERATIONS, _LANES, _MEMORY_KIB = 3, 4, 64 * 1024


def create_root_key(path: Path, passphrase: Sensitive[str] | None) -> None:
    """Write a new root key file. It is never overwritten.

    Raises:
        ConfigurationError: the file exists, or the passphrase is too short to protect anything.
    """
    if passphrase is None:
        line = [*_HEAD, "raw", _text(os.urandom(_LENGTH))]
    elif len(passphrase.reveal()) < 12:
        raise ConfigurationError("The passphrase must have 12 characters or more.")
    else:
        line = [*_HEAD, "argon2id", _text(os.urandom(16)), str(_ITERATIONS), str(_LANES), str(_MEMORY_KIB)]
    write_new(path, " ".join(line) + "\n")


def load_root_key(path: Path, ask: Callable[[], Sensitive[str]]) -> Sensitive[bytes]:
    """The root key that `path` describes; `ask` gives the passphrase where one is needed.

    Raises:
        KeyStoreError: the file is missing or not a root key file.
    """
    try:
        words = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyStoreError(
            f"The root key file {path} cannot be read ({type(error).__name__}).",
            hint="Run `keywheel init`, or name the file with --root-key-file.",
        ) from None
    match words:
        case ["keywheel-root-key", "1", "raw", key]:
            return Sensitive(_bytes(key, path))
        case ["keywheel-root-key", "1", "argon2id", salt, iterations, lanes, memory]:
            kdf = Argon2id(
                salt=_bytes(salt, path),
                length=_LENGTH,
                iterations=int(iterations),
                lanes=int(lanes),
                memory_cost=int(memory),
            )
            return Sensitive(kdf.derive(ask().reveal().encode()))
    raise KeyStoreError(f"{path} is not a root key file.", hint="Restore it from where you keep a copy.")


def write_new(path: Path, text: str) -> None:
    """Write `text` to a file that only its owner may read, on disk before this returns.

    Raises:
        ConfigurationError: there is such a file already.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists already and is never overwritten.") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str, path: Path) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise KeyStoreError(f"{path} is not a root key file.") from None
