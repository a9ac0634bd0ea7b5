"""The targets of performance.md, section 7, and how far a run is from them. None of them fails a build."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """A row of the table. `at_least` says on which side of the bounds a value belongs."""

    row: str
    measure: str
    goal: float
    gate: float
    at_least: bool
    unit: str = "×"

    def verdict(self, value: float) -> str:
        """How far a value is from it."""
        if self._holds(value, self.goal):
            return "[green]goal met[/]"
        return "[yellow]gate met[/]" if self._holds(value, self.gate) else "[red]not met[/]"

    def _holds(self, value: float, bound: float) -> bool:
        return value >= bound if self.at_least else value <= bound

    def shown(self, value: float) -> str:
        """A value of it."""
        return f"{value:.3g}{self.unit}" if value < 1000 else f"{value:.0f}{self.unit}"

    def bound(self, value: float) -> str:
        """One of its bounds."""
        return f"{'≥' if self.at_least else '≤'} {self.shown(value)}"


GOALS = {
    goal.row: goal
    for goal in (
        Goal("1", "GetSecretValue, rate: SQLite to moto", 40, 25, at_least=True),
        Goal("3", "GetSecretValue, CPU of a request: SQLite to the bare protocol", 3.5, 5, at_least=False),
        Goal("4", "GetSecretValue, rate: SQLite to bare uvicorn", 0.65, 0.45, at_least=True),
        Goal("5a", "GetSecretValue, p50 of 1 connection: SQLite to the bare protocol", 2, 3, at_least=False),
        Goal("5b", "GetSecretValue, p50 of 1 connection: moto to SQLite", 12, 8, at_least=True),
        Goal("6a", "KMS Encrypt, rate: SQLite to moto", 40, 25, at_least=True),
        Goal("6b", "KMS Decrypt, rate: SQLite to moto", 40, 25, at_least=True),
        Goal("6c", "KMS GenerateDataKey, rate: SQLite to moto", 40, 25, at_least=True),
        Goal("7", "KMS Sign with RSA-2048, rate: SQLite to the bare library on one core", 0.88, 0.80, at_least=True),
        Goal("8a", "PutSecretValue, rate: SQLite, durable, to moto", 10, 6, at_least=True),
        Goal("8b", "PutSecretValue, rate: SQLite on a disk to SQLite in memory", 0.85, 0.75, at_least=True),
        Goal("9", "GetSecretValue, rate: PostgreSQL to SQLite", 0.75, 0.5, at_least=True),
        Goal("10a", "Rotations of a single user, rate: engine to bare SQL", 0.90, 0.80, at_least=True),
        Goal("10b", "Rotations of alternating users, rate: engine to bare SQL", 0.90, 0.80, at_least=True),
        Goal("11a", "Rotations of a single user, our CPU: engine to bare SQL", 1.3, 1.5, at_least=False),
        Goal("11b", "Rotations of alternating users, our CPU: engine to bare SQL", 1.3, 1.5, at_least=False),
        Goal("12", "GetSecretValue, p50: with 8 rotations at a time to without", 1.5, 2.5, at_least=False),
        Goal("16", "Memory of an API process for itself, after the load", 60, 120, at_least=False, unit=" MiB"),
        Goal("17", "GetSecretValue, CPU of a request: two workers to one", 1.15, 1.3, at_least=False),
    )
}
