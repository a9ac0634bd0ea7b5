"""A crash, or any other deed, before or after the n-th effect, without naming the effect."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Crash(BaseException):
    """The process ended here. Not an `Exception`, so nothing handles it."""


class Fuse:
    """Does a deed before or after the n-th effect on the things it was put around; by default, the process crashes.

    An effect is a call of a public method of such a thing (also calling, entering or leaving the thing itself). It has
    two points, one before and one after, numbered from 0 in the order in which they are passed, whatever the thread.
    A test records the points of an undisturbed run, then runs once for each of them: a new effect is covered unnamed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: list[str] | None = None
        self._number: int | None = None
        self._action: Callable[[], object] | None = None
        self._dead = False

    def around(self, name: str, thing: T) -> T:
        """A stand-in for `thing` whose public methods are effects. It passes for an instance of the same class."""
        return cast(T, _stand_in(self, name, thing))

    @contextmanager
    def recording(self) -> Iterator[list[str]]:
        """The names of the points passed meanwhile, such as `before target.set_password`, in order."""
        points: list[str] = []
        with self._armed(points, None, None):
            yield points

    @contextmanager
    def blow_at(self, number: int, action: Callable[[], object] | None = None) -> Iterator[None]:
        """Call `action` once, at the point of that number, counted from the beginning of this context.

        Without an action, `Crash` is raised there and at every later point: a dead process has no more effects.
        """
        with self._armed([], number, action):
            yield

    def passes(self, point: str) -> None:
        """Pass a point by hand, for an effect that is no method call."""
        with self._lock:
            if self._points is None:
                return
            blows = len(self._points) == self._number
            self._points.append(point)
            action = self._action
            self._dead |= blows and action is None
            dead = self._dead
        if dead:
            raise Crash(point)
        if blows and action is not None:
            action()

    @contextmanager
    def _armed(self, points: list[str], number: int | None, action: Callable[[], object] | None) -> Iterator[None]:
        with self._lock:
            if self._points is not None:
                raise RuntimeError("a fuse records or is armed once at a time")
            self._points, self._number, self._action, self._dead = points, number, action, False
        try:
            yield
        finally:
            with self._lock:
                self._points, self._dead = None, False


# --- stand-ins -----------------------------------------------------------------------------------------------------

_EFFECTS = ("__call__", "__enter__", "__exit__")
_TRANSPARENT = (
    *("__iter__", "__next__", "__len__", "__bool__", "__contains__", "__eq__", "__hash__", "__repr__", "__str__"),
    *("__getitem__", "__setitem__", "__delitem__"),
)
_PARTS = "_fuse_parts"


def _parts(double: object) -> tuple[Fuse, str, Any]:
    """The fuse, the name and the thing of a stand-in."""
    return cast(tuple[Fuse, str, Any], object.__getattribute__(double, _PARTS))


def _effect(double: Any, label: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    fuse, _, thing = _parts(double)
    fuse.passes(f"before {label}")
    try:
        result = method(*args, **kwargs)
    finally:
        fuse.passes(f"after {label}")
    return double if result is thing else result


def _read(double: Any, attribute: str) -> Any:
    _, name, thing = _parts(double)
    value = getattr(thing, attribute)
    if attribute.startswith("_") or not callable(value) or isinstance(value, type):
        return value
    return partial(_effect, double, f"{name}.{attribute}", value)


def _write(double: Any, attribute: str, value: Any) -> None:
    setattr(_parts(double)[2], attribute, value)


def _reader(attribute: str) -> property:
    return property(lambda double: _read(double, attribute), lambda double, value: _write(double, attribute, value))


def _special(method: str) -> Callable[..., Any]:
    def call(double: Any, /, *args: Any, **kwargs: Any) -> Any:
        _, name, thing = _parts(double)
        bound = partial(getattr(type(thing), method), thing)
        if method not in _EFFECTS:
            return bound(*args, **kwargs)
        label = name if method == "__call__" else f"{name}.{method.strip('_')}"
        return _effect(double, label, bound, *args, **kwargs)

    return call


@cache
def _class_of_stand_ins(kind: type[Any]) -> type[Any]:
    """A class that really has every public attribute of `kind`, because `runtime_checkable` looks without calling."""
    has = {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()}  # not the metaclass's
    namespace: dict[str, Any] = {name: _reader(name) for name in has if not name.startswith("_")}
    namespace |= {name: _special(name) for name in (*_EFFECTS, *_TRANSPARENT) if callable(has.get(name))}
    namespace |= {"__class__": property(lambda _: kind), "__getattr__": _read, "__setattr__": _write}
    return type(f"Fused{kind.__name__}", (), namespace)


def _stand_in(fuse: Fuse, name: str, thing: Any) -> Any:
    double = _class_of_stand_ins(cast(Hashable, type(thing)))()
    object.__setattr__(double, _PARTS, (fuse, name, thing))
    return double
