"""Gates: proxies on the loopback that can be shut, in a process of their own (`python -m tests.chaos.gates`).

A gate that is `stalled` holds back what is sent through it and delivers it when it opens again, however late, as a
network does that was split; one that is `cut` ends what is open and lets nobody in. It is shut for everybody, or for
some processes only: whose a connection is, is read from /proc.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

HOST = "127.0.0.1"
STALLED, CUT = "stalled", "cut"
_ROOT = Path(__file__).resolve().parents[2]
_PIECE = 65_536


class Gates:
    """The process with the gates, by their names. A context manager.

    Args:
        upstreams: the port behind each gate.
    """

    def __init__(self, upstreams: dict[str, int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.gates", json.dumps(upstreams)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.ports: dict[str, int] = self._hears()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def shut(self, gate: str, how: str, *, only: list[int] | None = None) -> None:
        """Shut a gate: for everybody, or for the processes `only`."""
        self._say({"gate": gate, "how": how, "only": only})

    def open(self, gate: str) -> None:
        """Open it for everybody."""
        self._say({"gate": gate, "how": "", "only": None})

    def _say(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._hears()

    def _hears(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the gates have ended")
        return json.loads(line)


# --- the process -----------------------------------------------------------------------------------------------------


class _Link:
    """A connection through a gate."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.port: int = client.get_extra_info("peername")[1]
        self.ends = [client]
        self.free = asyncio.Event()

    def cut(self) -> None:
        for end in self.ends:
            end.transport.abort()
        self.free.set()  # whoever waits finds its end gone


class _Gate:
    """One listener, and what goes through it."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._how = ""
        self._only: list[int] | None = None
        self._links: set[_Link] = set()

    def become(self, how: str, only: list[int] | None) -> None:
        self._how, self._only = how, only
        owned = _ports_of(only) if how and only is not None else None
        for link in list(self._links):
            self._treat(link, owned)

    def _treat(self, link: _Link, owned: set[int] | None) -> None:
        """Do to a link what its gate does; `owned`: the ports of those for whom it is shut, None: everybody."""
        if not self._how or (owned is not None and link.port not in owned):
            link.free.set()
        elif self._how == CUT:
            link.cut()
        else:
            link.free.clear()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        self._treat(link, _ports_of(self._only) if self._how and self._only is not None else None)
        try:
            await link.free.wait()
            if not writer.transport.is_closing():
                server, to_server = await asyncio.open_connection(HOST, self._upstream)
                link.ends.append(to_server)
                await asyncio.gather(_pump(link, reader, to_server), _pump(link, server, writer))
        except OSError:
            pass
        finally:
            self._links.discard(link)
            for end in link.ends:
                end.close()


async def _pump(link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while piece := await source.read(_PIECE):
        await link.free.wait()
        sink.write(piece)
        await sink.drain()
    await link.free.wait()
    if sink.can_write_eof() and not sink.transport.is_closing():
        sink.write_eof()


def _ports_of(pids: list[int]) -> set[int]:
    """The local ports of the TCP connections that these processes have open."""
    sockets = set()
    for pid in pids:
        with suppress(OSError):  # it has ended
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    sockets.add(str(descriptor.readlink()))
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if f"socket:[{fields[9]}]" in sockets:
            found.add(int(fields[1].partition(":")[2], 16))
    return found


async def _main(upstreams: dict[str, int]) -> None:
    gates = {name: _Gate(port) for name, port in upstreams.items()}
    listeners = {name: await asyncio.start_server(gate.carry, HOST, 0, backlog=256) for name, gate in gates.items()}
    print(json.dumps({name: each.sockets[0].getsockname()[1] for name, each in listeners.items()}), flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        order = json.loads(line)
        gates[order["gate"]].become(order["how"], order["only"])
        print("true", flush=True)


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1])))
