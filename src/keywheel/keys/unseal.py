"""The root key: where it comes from.

One small text file says how. Either it holds the key itself (`raw`, mode 0600), or only what Argon2id needs to make
the key from a passphrase (`argon2id`): then the file alone opens nothing.
"""

from __future__ import annotations

import base64
import os
import tempfile
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
        KeyStoreError: the file is missing, or not a root key file or a spoiled one.
    """
    try:
        words = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyStoreError(
            f"The root key file {path} cannot be read ({type(error).__name__}).",
            hint="Run `keywheel init`, or name the file with --root-key-file.",
        ) from None
    try:
        match words:
            case ["keywheel-root-key", "1", "raw", text] if len(key := _bytes(text)) == _LENGTH:
                return Sensitive(key)
            case ["keywheel-root-key", "1", "argon2id", salt, iterations, lanes, memory]:
                kdf = _kdf(salt, int(iterations), int(lanes), int(memory))
                return Sensitive(kdf.derive(ask().reveal().encode()))
    except (ValueError, OverflowError):  # neither Base64 nor numbers, or numbers that Argon2id does not take
        pass
    raise KeyStoreError(f"{path} is not a root key file.", hint="Restore it from where you keep a copy.")


def _kdf(salt: str, iterations: int, lanes: int, memory: int) -> Argon2id:
    return Argon2id(salt=_bytes(salt), length=_LENGTH, iterations=iterations, lanes=lanes, memory_cost=memory)


def write_new(path: Path, text: str) -> None:
    """Write `text` to a new file that only its owner may read. It is there wholly or not at all, and on disk.

    Raises:
        ConfigurationError: there is such a file already, or it cannot be made.
    """
    try:
        _write_whole(path, text)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists already and is never overwritten.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror}).") from None


def _write_whole(path: Path, text: str) -> None:
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename, never over another file
    finally:
        Path(draft).unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # a file survives a loss of power by its directory entry
    finally:
        os.close(directory)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
