"""The clock's examination. The rest of a server's is in test_doctor.py, on a real one."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest

from keywheel.cli.checks.finding import Grade
from keywheel.cli.checks.server import clock
from keywheel.clock import SystemClock


@pytest.mark.parametrize(
    ("apart", "expected"),
    [(0, Grade.OK), (20, Grade.OK), (60, Grade.WARNING), (-60, Grade.WARNING), (600, Grade.FAILED)],
)
def test_clocks_that_differ_are_found(apart: int, expected: Grade) -> None:
    """A minute is a warning; what makes signatures fail is a failure."""
    said = format_datetime(SystemClock().now() + timedelta(seconds=apart), usegmt=True)
    assert [expected] == [finding.grade for finding in clock(said)]


def test_without_a_server_only_the_year_is_looked_at() -> None:
    """It is not said that the clocks agree."""
    (finding,) = clock(None)
    assert finding.grade is Grade.OK
    assert "not compared" in finding.detail
