"""A server process says that it runs, and which root keys it knows; and looks whether there is another one."""

from __future__ import annotations

import socket
import threading
import uuid

import structlog

from keywheel.clock import to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.keys.root import rows
from keywheel.keys.root.tie import Root

_LOOK = 1.0  # seconds
_BEATS = 15  # looks between two signs of life
_FORGOTTEN = 86_400.0


class RootWatch:
    """The row of a process, kept by a thread of its own for as long as the context lasts.

    Raises:
        KeyStoreError: on entering, the database is tied to a root key that is not known here.
    """

    def __init__(self, database: Database, root: Root, process: str) -> None:
        self._database, self._root = database, root
        self._id, self._name = str(uuid.uuid4()), f"{process} on {socket.gethostname()}"
        self._clock = database.clock()
        self._end = threading.Event()
        self._begun = threading.Event()
        self._failure: Exception | None = None
        self._told: frozenset[str] = frozenset()
        self._thread = threading.Thread(target=self._run, name="root-key-watch", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()
        self._begun.wait()
        if self._failure is not None:
            raise self._failure

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._database.write(self._begin)
        except Exception as error:  # noqa: BLE001 - raised again where the context is entered
            self._failure = error
            return
        finally:
            self._begun.set()
        looks = 0
        while not self._end.wait(_LOOK):
            looks += 1
            try:
                news = self._root.ring.look_again()
                if news or looks % _BEATS == 0 or self._told != self._root.ring.ids:
                    self._database.write(self._beat)
            except Exception as error:  # noqa: BLE001 - the next look may fare better, and nothing else depends on it
                structlog.get_logger("keywheel.keys").warning("root-key.watch", error=type(error).__name__)
        try:
            self._database.write(lambda tx: rows.drop_process.run(tx, row_id=self._id))
        except Exception as error:  # noqa: BLE001 - it is taken for gone after a while
            structlog.get_logger("keywheel.keys").warning("root-key.watch", error=type(error).__name__)

    def _begin(self, tx: Tx) -> None:
        self._root.ring.hold(tx)  # first: the database does not change over before this process is in the list
        rows.drop_processes.run(tx, before=self._now() - _FORGOTTEN)
        self._say(tx)

    def _beat(self, tx: Tx) -> None:
        ids = self._root.ring.ids
        if not rows.see_process.run(tx, row_id=self._id, root_keys=" ".join(sorted(ids)), seen=self._now()):
            self._say(tx)  # it was asleep for so long that somebody dropped it
        self._told = ids

    def _say(self, tx: Tx) -> None:
        ids = self._root.ring.ids
        rows.add_process.run(tx, id=self._id, name=self._name, root_keys=" ".join(sorted(ids)), seen=self._now())
        self._told = ids

    def _now(self) -> float:
        return to_epoch(self._clock.now())
