"""The root key's tie to a database, and what is sealed by it directly.

The tie is a row that only the present root key opens: it says which of several root keys wraps. A rotation changes it.
Whoever writes something under the root key holds that row in the same transaction, so nothing under the former one is
written any more once the tie has changed: not even by a process that wrapped it long before, and slept.
"""

from __future__ import annotations

import os

from keywheel.db.statement import Tx
from keywheel.errors import KeyStoreError
from keywheel.keys.root import rows
from keywheel.keys.root.ring import CHECK, NAME, RootRing
from keywheel.keys.stores.software import SoftwareKeyStore
from keywheel.sensitive import Sensitive


class Root:
    """A root key, by which a database is opened; two of them while it is rotated."""

    def __init__(self, root: Sensitive[bytes] | RootRing) -> None:
        self._store = SoftwareKeyStore(root)

    @property
    def ring(self) -> RootRing:
        """The root keys that this process knows."""
        return self._store.ring

    def bind(self, tx: Tx) -> bool:
        """Tie a new database to the root key; False when it is tied to this one already.

        Raises:
            KeyStoreError: the database belongs to another root key.
        """
        row = rows.value.first(tx, row_name=CHECK)
        if row is None:
            rows.add.run(tx, row_name=CHECK, value=self._store.wrap(os.urandom(32), CHECK.encode()))
            name_root_key(tx, self.ring.current)
            return True
        self.ring.follow(tx, bytes(row[0]))
        return False

    @staticmethod
    def is_bound(tx: Tx) -> bool:
        """Whether the database is tied to a root key, whichever that is."""
        return rows.value.first(tx, row_name=CHECK) is not None

    def check(self, tx: Tx) -> None:
        """Nothing, when a root key that we know opens this database; that one wraps from now on.

        Raises:
            KeyStoreError: none does, or the database was never initialised.
        """
        row = rows.value.first(tx, row_name=CHECK)
        if row is None:
            raise KeyStoreError("This database is not initialised.", hint="Run `keywheel init` first.")
        self.ring.follow(tx, bytes(row[0]))

    def wrap(self, tx: Tx, material: bytes, label: str) -> bytes:
        """A small secret of the server's own, under the root key; to be written in this transaction.

        Raises:
            KeyStoreError: as by `RootRing.hold`.
        """
        self.ring.hold(tx)
        return self._store.wrap(material, label.encode())

    def unwrap(self, wrapped: bytes, label: str) -> Sensitive[bytes]:
        """What `wrap` was given.

        Raises:
            KeyStoreError: another root key, or another label.
        """
        return Sensitive(self._store.unwrap(wrapped, label.encode()))


def name_root_key(tx: Tx, root_key: str) -> None:
    """Write down which root key the database is tied to."""
    if not rows.put.run(tx, row_name=NAME, value=root_key.encode()):
        rows.add.run(tx, row_name=NAME, value=root_key.encode())
