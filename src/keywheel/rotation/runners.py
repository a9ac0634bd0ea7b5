"""Where a step runs: in this process by a built-in rotator, or in a rotation function by the Lambda contract.

A user chooses by the function's ARN, as on AWS. Names of the form `keywheel-<target>-<strategy>` and AWS's own
template names, in the secret's account and Region, are built in; any other ARN is invoked through the Lambda endpoint.
"""

from __future__ import annotations

from keywheel.arn import Arn, Scope, function_name
from keywheel.functions.invoke import LambdaEndpoint
from keywheel.rotation.built_in import built_in
from keywheel.rotator import Strategy


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
