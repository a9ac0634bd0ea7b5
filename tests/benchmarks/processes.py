"""What a server's processes use, from /proc."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            children.setdefault(int(_fields(stat)[1]), []).append(int(stat.parent.name))
    found = [pid]
    for member in found:
        found += sorted(children.get(member, ()))
    return found


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process and everything below it, that of children which have ended included."""
    ticks = 0
    for member in family(pid):
        with suppress(OSError):
            ticks += sum(int(field) for field in _fields(Path(f"/proc/{member}/stat"))[11:15])
    return ticks / _TICKS


def unique_memory(pid: int) -> int:
    """The bytes that would come free if this process ended (USS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _fields(stat: Path) -> list[str]:
    """The fields behind the name, from the state on."""
    return stat.read_text().rpartition(") ")[2].split()
