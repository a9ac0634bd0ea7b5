"""A short soak in every test run; `make soak` works for ten minutes."""

from __future__ import annotations

from tests.fuzz.vitals import MIB, Vitals
from tests.soak.__main__ import soak
from tests.soak.client import Asked
from tests.soak.report import MOST_GROWTH, Soak


def test_a_short_soak_keeps_every_promise() -> None:
    """No error, memory and descriptors flat, no operation grows slow, every rotated role logs in."""
    seen = soak(20.0, secrets=200, roles=8, rate=200.0)
    print(seen)
    assert list(seen.broken()) == []
    assert seen.rotations >= seen.roles


def made(*, leak: float = 0.0, opened: int = 0, code: str | None = None, late: float = 0.01, live: int = 4) -> Soak:
    """A soak of 100 seconds with one thing wrong."""
    vitals = [Vitals(float(at), 80 * MIB + int(leak * at), 10 + opened * at // 100) for at in range(101)]
    asked = [Asked("GetSecretValue", float(at), late if at >= 75 else 0.01, code) for at in range(100)]
    return Soak(100.0, 25.0, asked, {"API 1": vitals}, {}, 4, live, 4)


def test_each_broken_promise_is_found() -> None:
    """A leak, descriptors, an error, a slow end, a role that cannot log in; and a flat run is none of these."""
    assert list(made().broken()) == []
    assert "grew" in next(made(leak=2 * MOST_GROWTH / 100).broken())
    assert "descriptors" in next(made(opened=40).broken())
    assert "answered InternalServiceError" in next(made(code="InternalServiceError").broken())
    assert "p99" in next(made(late=1.0).broken())
    assert "roles" in next(made(live=3).broken())
    assert "GetSecretValue" in str(made())
