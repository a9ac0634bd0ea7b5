"""The root key's tie to a database, and what is sealed by it directly."""

from __future__ import annotations

import os

from keywheel.db.statement import Tx
from keywheel.errors import KeyStoreError
from keywheel.keys import rows
from keywheel.keys.stores.software import SoftwareKeyStore
from keywheel.sensitive import Sensitive

_CHECK = "root-key-check"


class Root:
    """A root key, by which a database is opened."""

    def __init__(self, root: Sensitive[bytes]) -> None:
        self._store = SoftwareKeyStore(root)

    def bind(self, tx: Tx) -> bool:
        """Tie a new database to the root key; False when it is tied to this one already.

        Raises:
            KeyStoreError: the database belongs to another root key.
        """
        row = rows.installation.first(tx, name=_CHECK)
        if row is None:
            rows.insert_installation.run(tx, name=_CHECK, value=self._store.wrap(os.urandom(32), _CHECK.encode()))
            return True
        self._store.unwrap(row[0], _CHECK.encode())
        return False

    @staticmethod
    def is_bound(tx: Tx) -> bool:
        """Whether the database is tied to a root key, whichever that is."""
        return rows.installation.first(tx, name=_CHECK) is not None

    def check(self, tx: Tx) -> None:
        """Nothing, when the root key opens this database.

        Raises:
            KeyStoreError: it does not, or the database was never initialised.
        """
        row = rows.installation.first(tx, name=_CHECK)
        if row is None:
            raise KeyStoreError("This database is not initialised.", hint="Run `keywheel init` first.")
        self._store.unwrap(row[0], _CHECK.encode())

    def wrap(self, material: bytes, label: str) -> bytes:
        """A small secret of the server's own, under the root key."""
        return self._store.wrap(material, label.encode())

    def unwrap(self, wrapped: bytes, label: str) -> Sensitive[bytes]:
        """What `wrap` was given.

        Raises:
            KeyStoreError: another root key, or another label.
        """
        return Sensitive(self._store.unwrap(wrapped, label.encode()))
