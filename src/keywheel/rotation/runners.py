"""Where a step runs: in this process by a built-in rotator, or in a rotation function by the Lambda contract.

A user chooses by the function's ARN, as on AWS. Names of the form `keywheel-<target>-<strategy>` and AWS's own
template names, in the secret's account and Region, are built in; any other ARN is invoked through the Lambda endpoint.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from types import ModuleType

from keywheel import rotators
from keywheel.arn import Arn, Scope, function_name
from keywheel.functions.invoke import LambdaEndpoint
from keywheel.rotator import AlternatingUsers, CloningTarget, SingleUser, Strategy

ENTRY_POINTS = "keywheel.rotators"


class Runners:
    """The built-in rotators by name, and the way to every other function."""

    def __init__(self, endpoint: LambdaEndpoint | None, strategies: dict[str, Strategy] | None = None) -> None:
        self._strategies = built_in() if strategies is None else strategies
        self.endpoint = endpoint

    def built_in(self, function: str, scope: Scope) -> Strategy | None:
        """The strategy that a function ARN of `scope` names, or None."""
        name = function_name(function, scope)
        return None if name is None else self._strategies.get(name)

    def can_run(self, function: str, scope: Scope) -> bool:
        """Whether rotations with this function can be carried out. May ask the Lambda endpoint."""
        if self.built_in(function, scope) is not None:
            return True
        parsed = Arn.parse(function)
        is_function = parsed is not None and parsed.service == "lambda" and parsed.resource.startswith("function:")
        return is_function and self.endpoint is not None and self.endpoint.can_invoke(function)


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
        yield info.name, importlib.import_module(f"{rotators.__name__}.{info.name}")
    for point in entry_points(group=ENTRY_POINTS):
        yield point.name, point.load()
