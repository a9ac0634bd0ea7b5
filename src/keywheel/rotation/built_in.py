"""The built-in rotators, found by their files' names; other packages add theirs by an entry point.

Every strategy that a target's abilities allow is offered under keywheel's name for it and, where the file names AWS's
template family, under AWS's.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from types import ModuleType

from keywheel import rotators
from keywheel.rotator import CloningTarget, Strategy
from keywheel.strategies import AlternatingUsers, SingleUser

ENTRY_POINTS = "keywheel.rotators"


def built_in() -> dict[str, Strategy]:
    """Every strategy of every installed rotator, by each name a user may choose it by."""
    found: dict[str, Strategy] = {}
    for file, module in _modules():
        target = module.TARGET()
        strategies: list[Strategy] = [SingleUser(target)]
        if isinstance(target, CloningTarget):
            strategies.append(AlternatingUsers(target))
        for strategy in strategies:
            found[f"keywheel-{file.replace('_', '-')}-{strategy.NAME}"] = strategy
            if module.AWS_NAME:
                found[f"SecretsManager{module.AWS_NAME}Rotation{strategy.AWS_NAME}"] = strategy
    return found


def _modules() -> Iterator[tuple[str, ModuleType]]:
    for info in pkgutil.iter_modules(rotators.__path__):
        if info.name.startswith("_"):
            continue  # what several rotators share
        yield info.name, importlib.import_module(f"{rotators.__name__}.{info.name}")
    for point in entry_points(group=ENTRY_POINTS):
        yield point.name, point.load()
