"""What a run found, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.benchmarks.goals import GOALS
from tests.benchmarks.load import Sample
from tests.benchmarks.rotations import Rotated
from tests.benchmarks.rounds import Rounds

OPERATIONS = {
    "get": "GetSecretValue",
    "one": "GetSecretValue, 1 connection",
    "put": "PutSecretValue",
    "create": "CreateSecret",
    "encrypt": "KMS Encrypt",
    "decrypt": "KMS Decrypt",
    "datakey": "KMS GenerateDataKey",
    "sign-p256": "KMS Sign, P-256",
    "sign-rsa": "KMS Sign, RSA-2048",
    "verify": "KMS Verify, P-256",
    "mac": "KMS GenerateMac, SHA-256",
}
SERVERS = {
    "sqlite": "keywheel, SQLite",
    "memory": "keywheel, SQLite in memory",
    "postgresql": "keywheel, PostgreSQL",
    "two": "keywheel, SQLite, 2 workers",
    "moto": "moto_server",
    "uvicorn": "bare uvicorn (constant bytes)",
    "protocol": "bare protocol (constant bytes)",
    "library": "bare library call, in one thread",
}
ROTATIONS = {
    "single-user": "engine, single user",
    "single_user": "bare SQL of a single user",
    "alternating-users": "engine, alternating users",
    "alternating_users": "bare SQL of alternating users",
    "least": "one ALTER over a kept session, one login",
}
READERS = {"calm": "no rotation", "busy": "8 rotations at a time"}
BESIDE_KEYS = {
    "calm": "nothing beside",
    "encrypt": "4 connections encrypt",
    "sign-p256": "4 connections sign, P-256",
    "sign-rsa": "4 connections sign, RSA-2048",
}


def show_requests(found: Rounds[Sample], console: Console) -> None:
    """Every operation on every server."""
    table = _table("operation", "server", "requests/s", "p50 ms", "p99 ms", "CPU µs", "refused")
    for operation, title in OPERATIONS.items():
        cases = {f"{operation} {name}": name for name in SERVERS if f"{operation} {name}" in found.samples}
        for number, (case, name) in enumerate(cases.items(), start=1):
            table.add_row(
                title if number == 1 else "",
                SERVERS[name],
                f"{found.median(case, lambda s: s.rate):,.0f}",
                f"{1e3 * found.median(case, lambda s: s.p50):.3f}",
                f"{1e3 * found.median(case, lambda s: s.p99):.2f}",
                f"{1e6 * found.median(case, lambda s: s.cpu_each):,.1f}",
                str(sum(sample.refused for sample in found.samples[case]) or ""),
                end_section=number == len(cases),
            )
    console.print(table)


def show_keys(found: Rounds[Sample], console: Console) -> None:
    """What keys do here, as ratios to moto's server and to the bare call of the library."""
    table = _table("keys, rate", "to moto", "to the library", "our CPU to the library's", "moto's CPU to ours")
    for operation, title in OPERATIONS.items():
        ours, moto, library = (f"{operation} {name}" for name in ("sqlite", "moto", "library"))
        if library in found.samples:
            table.add_row(
                title,
                f"{found.ratio(ours, moto, lambda s: s.rate):.1f}×",
                f"{found.ratio(ours, library, lambda s: s.rate):.3f}×",
                f"{found.ratio(ours, library, lambda s: s.cpu_each):.2f}×",
                f"{found.ratio(moto, ours, lambda s: s.cpu_each):.1f}×",
            )
    console.print(table)


def show_generator(found: Rounds[Sample], console: Console) -> None:
    """How much the load itself can do."""
    most = max(sample.rate for sample in found.samples["get protocol"])
    own = 1e6 * median(sample.own_cpu / sample.replies for sample in found.samples["get sqlite"])
    console.print(
        f"The load generator sent up to {most:,.0f} requests/s, to the bare protocol; "
        f"each one to keywheel took it {own:.1f} µs of CPU.\n"
    )


def show_rotations(found: Rounds[Rotated], console: Console) -> None:
    """The engine beside the bare SQL."""
    table = _table("rotations, 8 at a time", "rotations/s", "our CPU ms", "target's CPU ms")
    for case, title in ROTATIONS.items():
        table.add_row(
            title,
            f"{found.median(case, lambda s: s.rate):.1f}",
            f"{1e3 * found.median(case, lambda s: s.cpu_each):.2f}",
            f"{1e3 * found.median(case, lambda s: s.target_cpu_each):.2f}",
        )
    console.print(table)


def show_readers(found: Rounds[Sample], console: Console, cases: Mapping[str, str] = READERS) -> None:
    """What goes on beside readers does to them."""
    table = _table("GetSecretValue, 4 connections", "requests/s", "p50 ms", "p99 ms")
    for case, title in cases.items():
        table.add_row(
            title,
            f"{found.median(case, lambda s: s.rate):,.0f}",
            f"{1e3 * found.median(case, lambda s: s.p50):.3f}",
            f"{1e3 * found.median(case, lambda s: s.p99):.2f}",
        )
    console.print(table)


def show_goals(values: Mapping[str, float], console: Console) -> None:
    """Every value beside its goal and its gate."""
    table = _table("row", "measure", "measured", "goal", "gate", "")
    for row, goal in GOALS.items():
        if row in values:
            value = values[row]
            table.add_row(
                row, goal.measure, goal.shown(value), goal.bound(goal.goal), goal.bound(goal.gate), goal.verdict(value)
            )
    console.print(table)
    console.print("Ratios are the median of the ratios that each round had. Rows: performance.md, section 7.")


def _table(*titles: str) -> Table:
    """A table whose words stand on the left and whose numbers on the right."""
    table = Table()
    for title in titles:
        words = title in ("operation", "server", "row", "measure", "") or "," in title
        table.add_column(title, justify="left" if words else "right", no_wrap=True)
    return table
