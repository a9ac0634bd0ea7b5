"""Variations of a credential."""

from __future__ import annotations

import secrets
from typing import Any

from keywheel.rotator import CLONE_SUFFIX, Credential
from keywheel.sensitive import Sensitive


def changed(credential: Credential, **fields: Any) -> Credential:
    """The same credential with other fields; None takes one away."""
    kept = {name: value for name, value in {**credential.fields, **fields}.items() if value is not None}
    return Credential(kept, credential.password)


def with_password(credential: Credential, password: str | None = None) -> Credential:
    return credential.replace(password=Sensitive(password or secrets.token_urlsafe(24)))


def clone_of(credential: Credential) -> Credential:
    return credential.replace(password=Sensitive("clone-password"), username=credential.username + CLONE_SUFFIX)
