"""What a rotation function may have come to know: every secret text in its secret, and in its superuser's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from keywheel.db.statement import Tx
from keywheel.errors import InvalidRequest, ResourceNotFound
from keywheel.rotation import permission
from keywheel.secrets.ledger import Secrets
from keywheel.secrets.rows import Secret

# Members of AWS's secret JSON that say where and who; an error that names them helps.
_PUBLIC = frozenset(
    {"engine", "host", "port", "dbname", "username", "masterarn", "dbInstanceIdentifier", "dbClusterIdentifier", "ssl"}
)
_SHORTEST_NUMBER = 4  # a PIN; what is shorter is a setting, and stands in many a text


def secret_texts(tx: Tx, secrets: Secrets, secret: Secret) -> list[str]:
    """The secret texts of all labelled versions, and of those of the secret that `masterarn` names."""
    values = list(_values(tx, secrets, secret))
    found = [text for value in values for text in _texts(value)]
    for named in {value["masterarn"] for value in values if isinstance(value, dict) and "masterarn" in value}:
        if isinstance(named, str):
            found += _of_superuser(tx, secrets, secret, named)
    return found


def _of_superuser(tx: Tx, secrets: Secrets, secret: Secret, named: str) -> list[str]:
    try:
        superuser = secrets.find(tx, secret.scope, named)
    except (ResourceNotFound, InvalidRequest):
        return []
    return [text for value in _values(tx, secrets, superuser) for text in _texts(value)]


def _values(tx: Tx, secrets: Secrets, secret: Secret) -> Iterator[Any]:
    """Each labelled value: parsed, where it is JSON."""
    for version_id in set(secrets.labels(tx, secret).values()):
        version = secrets.version(tx, secret, version_id)
        if version is not None:
            permission.check(tx, secrets.vault.keys, secret, "Decrypt", version.key_arn, version_id)
        value = None if version is None else secrets.open(tx, secret, version)
        if value is not None:
            text = value.data.reveal().decode("utf-8", "replace")
            try:
                yield json.loads(text)
            except ValueError:
                yield text


def _texts(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _texts(member, key)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member, name)
    elif isinstance(value, str) and name not in _PUBLIC:
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool) and name not in _PUBLIC:
        yield from (text for text in (str(value),) if len(text) >= _SHORTEST_NUMBER)
