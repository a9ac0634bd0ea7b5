"""Where a step runs: in this process by a built-in rotator, or in a rotation function by the Lambda contract.

A user chooses by the function's ARN, as on AWS. Names of the form `keywheel-<target>-<strategy>` and AWS's own
template names, in the secret's account and Region, are built in; so are, there, the names of the functions that the
server's settings hold, which run in processes of their own. Any other ARN is invoked through the Lambda endpoint.
"""

from __future__ import annotations

from keywheel.arn import Arn, Scope, function_name
from keywheel.errors import ConfigurationError
from keywheel.functions.invoke import LambdaEndpoint
from keywheel.functions.local import LocalFunctions
from keywheel.rotation.built_in import built_in
from keywheel.rotator import Strategy


class Runners:
    """The built-in rotators by name, and the way to every other function."""

    def __init__(
        self,
        endpoint: LambdaEndpoint | None,
        strategies: dict[str, Strategy] | None = None,
        local: LocalFunctions | None = None,
    ) -> None:
        self._strategies = built_in() if strategies is None else strategies
        self._local = local
        self.endpoint = endpoint
        for name in () if local is None else sorted(local.names & self._strategies.keys()):
            raise ConfigurationError(f"functions.{name}: a built-in rotator has that name.", hint="Choose another.")

    def check(self) -> None:
        """Return if every function of the settings can be run.

        Raises:
            ConfigurationError: one cannot; it says which, and why.
        """
        for name in self.names:
            self.check_one(name)

    @property
    def names(self) -> list[str]:
        """The functions of the settings."""
        return [] if self._local is None else sorted(self._local.names)

    def check_one(self, name: str) -> None:
        """Return if this function of the settings can be run.

        Raises:
            ConfigurationError: it cannot; it says why.
        """
        if self._local is not None:
            self._local.check(name)

    def built_in(self, function: str, scope: Scope) -> Strategy | None:
        """The strategy that a function ARN of `scope` names, or None."""
        name = function_name(function, scope)
        return None if name is None else self._strategies.get(name)

    def local(self, function: str, scope: Scope) -> LocalFunctions | None:
        """The host of a function ARN of `scope` that the settings hold, or None."""
        known = self._local is not None and function_name(function, scope) in self._local.names
        return self._local if known else None

    def can_run(self, function: str, scope: Scope) -> bool:
        """Whether rotations with this function can be carried out. May ask the Lambda endpoint.

        Raises:
            ConfigurationError: it is a function of the settings, and cannot be run; it says why.
        """
        if self.built_in(function, scope) is not None:
            return True
        local = self.local(function, scope)
        if local is not None:
            local.check(function_name(function, scope) or "")
            return True
        parsed = Arn.parse(function)
        is_function = parsed is not None and parsed.service == "lambda" and parsed.resource.startswith("function:")
        return is_function and self.endpoint is not None and self.endpoint.can_invoke(function)
