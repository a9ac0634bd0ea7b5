"""The root key: where it comes from.

One small text file says how. It holds the key itself (`raw`, mode 0600), or only what Argon2id needs to make the key
from a passphrase (`argon2id`), or the key encrypted by a key that a PKCS #11 token keeps to itself (`pkcs11`). Of the
last two the file alone opens nothing.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keywheel.errors import ConfigurationError, KeyStoreError
from keywheel.keys.root.token import RootToken, call_token
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
    else:
        require_strong(passphrase)
        line = [*_HEAD, "argon2id", _text(os.urandom(16)), str(_ITERATIONS), str(_LANES), str(_MEMORY_KIB)]
    write_new(path, " ".join(line) + "\n")


def require_strong(passphrase: Sensitive[str]) -> None:
    """Refuse a passphrase that is too short to protect anything.

    Raises:
        ConfigurationError: it is.
    """
    if len(passphrase.reveal()) < 12:
        raise ConfigurationError("The passphrase must have 12 characters or more.")


def create_token_root_key(path: Path, token: RootToken) -> None:
    """Write a new root key file, for a new root key under a new key in a token.

    Raises:
        ConfigurationError: the file exists.
        KeyStoreError: the token is away, or refuses the PIN.
    """
    if path.exists():  # before a key is made in the token that nobody would use
        raise ConfigurationError(f"{path} exists already and is never overwritten.")
    made = call_token(token, {"do": "make", "material": _text(os.urandom(_LENGTH))})
    write_new(path, " ".join([*_HEAD, "pkcs11", made["id"], made["sealed"]]) + "\n")


def kind_of(path: Path) -> str:
    """`raw`, `argon2id` or `pkcs11`: what the root key of a file is made from.

    Raises:
        KeyStoreError: the file is missing, or not a root key file.
    """
    words = _words(path)
    if len(words) < 4 or tuple(words[:2]) != _HEAD:
        raise _spoiled(path)
    return words[2]


def load_root_key(path: Path, ask: Callable[[], Sensitive[str]], token: RootToken | None = None) -> Sensitive[bytes]:
    """The root key that `path` describes; `ask` gives the passphrase where one is needed.

    Raises:
        KeyStoreError: the file is missing, or not a root key file or a spoiled one; the token is away, is not
            configured, or refuses the PIN.
    """
    words = _words(path)
    try:
        match words:
            case ["keywheel-root-key", "1", "raw", text] if len(key := _bytes(text)) == _LENGTH:
                return Sensitive(key)
            case ["keywheel-root-key", "1", "argon2id", salt, iterations, lanes, memory]:
                kdf = _kdf(salt, int(iterations), int(lanes), int(memory))
                return Sensitive(kdf.derive(ask().reveal().encode()))
            case ["keywheel-root-key", "1", "pkcs11", identifier, sealed] if _bytes(identifier) and _bytes(sealed):
                if token is None:
                    raise KeyStoreError(
                        f"The root key of {path} is in a PKCS #11 token, and no token is configured.",
                        hint="Set root_key_module and root_key_token.",
                    )
                opened = call_token(token, {"do": "open", "id": identifier, "sealed": sealed})
                return Sensitive(_bytes(opened["material"]))
    except (ValueError, OverflowError):  # neither Base64 nor numbers, or numbers that Argon2id does not take
        pass
    raise _spoiled(path)


def _spoiled(path: Path) -> KeyStoreError:
    return KeyStoreError(f"{path} is not a root key file.", hint="Restore it from where you keep a copy.")


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyStoreError(
            f"The root key file {path} cannot be read ({type(error).__name__}).",
            hint="Run `keywheel init`, or name the file with --root-key-file.",
        ) from None


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


def replace(path: Path, text: str) -> None:
    """Write `text` to a file that only its owner may read, over the one that is there if there is one.

    Raises:
        ConfigurationError: it cannot be made.
    """
    try:
        _write_whole(path, text, put=os.replace)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror}).") from None


def _write_whole(path: Path, text: str, put: Callable[[str, Path], None] | None = None) -> None:
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        (put or os.link)(draft, path)  # a link, unlike a rename, never over another file
    finally:
        Path(draft).unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Have what was made, moved and removed in a directory on disk: a file survives a loss of power by its entry."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
