"""The root key's file under a key of a PKCS #11 token: opened by a process of its own.

So the vendor's library is in no server process and in no fork, and no custom key store shares it. The PIN
and the root key go through pipes only. The token is asked when a server starts and while the root key is rotated, and
never for a request.

Importing this needs nothing; running it needs python-pkcs11, the extra `hsm`.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

from keywheel.errors import KeyStoreError, KeywheelError
from keywheel.sensitive import Sensitive

_SECONDS = 60  # a token at the other end of a network may take a while
_CONTEXT = b"keywheel root key"
_HINT = "Check root_key_module and root_key_token, that the token is there, and its PIN (root_key_pin_file)."


class RootToken(NamedTuple):
    """The token that opens the root key's file: the vendor's PKCS #11 library, its label, and who knows its PIN."""

    module: str
    label: str
    pin: Callable[[], Sensitive[str]]


def call_token(token: RootToken, request: dict[str, str]) -> dict[str, str]:
    """Have the process do one thing with the token.

    Raises:
        KeyStoreError: the token is away, refuses the PIN, or does not know the file's key.
    """
    given = json.dumps({**request, "module": token.module, "token": token.label, "pin": token.pin().reveal()})
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter is our own
            [sys.executable, "-m", __name__], input=given.encode(), capture_output=True, timeout=_SECONDS, check=False
        )
        answer: dict[str, str] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise KeyStoreError(f"The token {token.label} does not answer.", hint=_HINT) from None
    except ValueError:  # the library ended the process
        raise KeyStoreError(f"The PKCS #11 library {token.module} failed.", hint=_HINT) from None
    if "error" in answer:
        raise KeyStoreError(answer["error"], hint=_HINT)
    return answer


def _answer(request: dict[str, str]) -> dict[str, str]:
    from keywheel.clock import SystemClock

    try:
        from keywheel.keys.stores.pkcs11 import TokenKeyStore
        from keywheel.keys.stores.token import Module, Token
    except ImportError:
        return {"error": "python-pkcs11 is not installed: install keywheel[hsm]."}
    token = Token(Module(request["module"], SystemClock()), request["token"], lambda: Sensitive(request["pin"]))
    store = TokenKeyStore(token)
    try:
        store.check()
        if request["do"] == "make":
            name = os.urandom(16)
            sealed = store.encrypt(store.create(name), name, _bytes(request["material"]), _CONTEXT)
            return {"id": _text(name), "sealed": _text(sealed)}
        name = _bytes(request["id"])
        return {"material": _text(store.decrypt(name, name, _bytes(request["sealed"]), _CONTEXT))}
    except KeywheelError as error:
        return {"error": error.message or type(error).__name__}
    finally:
        store.close()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


if __name__ == "__main__":
    print(json.dumps(_answer(json.load(sys.stdin))))
