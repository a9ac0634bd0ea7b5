"""Checks of a running server, from outside: does it answer, does it know us, does its clock agree."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from keywheel.cli.checks.finding import Finding, failed, ok, warning
from keywheel.cli.client import Client
from keywheel.cli.output import moment
from keywheel.cli.status import OVERDUE, Standing, standing
from keywheel.clock import SystemClock, to_epoch
from keywheel.config import Settings

_YEARS = range(2025, 2100)
_SIGNATURES_FAIL, _LOOK_AT_IT = 300.0, 30.0  # seconds between two clocks
_SYNCHRONISE = "Synchronise it (chrony, systemd-timesyncd): signatures, schedules and leases depend on it."


class Server:
    """The examination of a server. `answers` says whether it could be asked at all; `date` is what its clock said."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.date: str | None = None
        self.answers = False

    def health(self) -> Iterator[Finding]:
        """It lives, and reaches its store."""
        endpoint = self._client.address.endpoint
        status, self.date = self._client.probe("/health")
        if status != 200:
            yield failed("server", f"{endpoint}/health answers {status}.", "Is it keywheel? Check --endpoint-url.")
            return
        self.answers = True
        status, _ = self._client.probe("/ready")
        if status == 200:
            yield ok("server", f"{endpoint} is live and ready")
        else:
            yield failed(
                "server", f"{endpoint} lives and is not ready.", "Its store does not answer: see the database."
            )

    def credentials(self) -> Iterator[Finding]:
        """A signed request passes the door."""
        self._client.call("secretsmanager.ListSecrets", MaxResults=1)
        yield ok("credentials", f"{self._client.address.access_key_id} may ask in {self._client.address.region}")

    def rotations(self) -> Iterator[Finding]:
        """No rotation is stuck."""
        now = to_epoch(SystemClock().now())
        entries = self._client.pages("keywheel.ListRotations", "Rotations")
        standings = [standing(entry, now) for entry in entries]
        stuck = [one for one in standings if one.stuck]
        yield from (_stuck(one, now) for one in stuck)
        if not stuck:
            yield ok("rotations", f"{len(standings)} configured, none stuck")


def clock(date: str | None) -> Iterator[Finding]:
    """This machine's clock is sane, and agrees with the server's, which said `date`."""
    now = SystemClock().now()
    if now.year not in _YEARS:
        yield failed("clock", f"This machine believes it is {now:%Y-%m-%d}.", _SYNCHRONISE)
        return
    if date is None:
        yield ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC; not compared with a server's")
        return
    apart = abs(to_epoch(now) - to_epoch(parsedate_to_datetime(date)))
    if apart > _SIGNATURES_FAIL:
        yield failed("clock", f"It is {apart:.0f} s away from the server's: signatures are refused.", _SYNCHRONISE)
    elif apart > _LOOK_AT_IT:
        yield warning("clock", f"It is {apart:.0f} s away from the server's.", _SYNCHRONISE)
    else:
        yield ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, as the server's")


def engine(settings: Settings) -> Iterator[Finding]:
    """A rotation engine runs on the data directory: it holds a lock there as long as it lives."""
    path = settings.directory / "engine.lock"
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield _no_engine(settings, "has ever run")
        return
    with file:
        try:
            # Shared and let go at once: a server that starts in this very instant would be refused, and no other.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield ok("engine", f"runs on {settings.directory}")
            return
        fcntl.flock(file, fcntl.LOCK_UN)
    yield _no_engine(settings, "runs")


def _no_engine(settings: Settings, verb: str) -> Finding:
    detail = f"No rotation engine {verb} on {settings.directory}: nothing is rotated."
    if settings.database_url.startswith("sqlite:"):
        return failed("engine", detail, "Start `keywheel serve` with --role all or engine.")
    advice = "If none runs on another machine either, start `keywheel serve` with --role all or engine."
    return warning("engine", f"No rotation engine {verb} on {settings.directory}.", advice)


def _stuck(one: Standing, now: float) -> Finding:
    place = f" at {one.step}" if one.step else ""
    again = "" if one.next_try is None else f" Next try: {moment(one.next_try, now)}."
    detail = f"{one.state}{place}: {one.code}: {one.reason}{again}"
    if one.state == OVERDUE:
        return failed(f"rotation of {one.name}", detail, "See the engine.")
    grade = failed if one.state == "failed" else warning
    return grade(f"rotation of {one.name}", detail, f"Mend the cause; `keywheel rotate {one.name}` then tries at once.")
