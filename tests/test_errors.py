"""The tree of errors, which is a table of decisions."""

from __future__ import annotations

import inspect

import pytest

from keywheel import errors
from keywheel.errors import CallerError, KeywheelError, TargetError
from keywheel.keys import errors as kms_errors

KINDS = {**vars(errors), **vars(kms_errors)}.values()
ALL = [kind for kind in KINDS if inspect.isclass(kind) and issubclass(kind, KeywheelError)]
CALLERS = [kind for kind in ALL if issubclass(kind, CallerError)]
TARGETS = [kind for kind in ALL if issubclass(kind, TargetError)]
NAMES = {
    "KeywheelError": ["CallerError", "TargetError", "KeyStoreError", "ConfigurationError", "Fenced", "BrokenInvariant"],
    "TargetError": ["TargetUnavailable", "TargetRefused", "SecretMalformed", "FunctionFailed"],
    "TargetRefused": ["PasswordRejected", "LoginRefused", "StaleEpoch", "TlsRefused"],
}


def children(kind: type[KeywheelError]) -> list[str]:
    """The classes directly below it."""
    return [each.__name__ for each in ALL if kind in each.__bases__]


@pytest.mark.parametrize("name", NAMES)
def test_the_tree_is(name: str) -> None:
    """As the architecture says: whose move is next."""
    assert children(getattr(errors, name)) == NAMES[name]


@pytest.mark.parametrize("kind", CALLERS)
def test_an_error_of_the_caller_stands_directly_below_its_kind(kind: type[CallerError]) -> None:
    """Nothing depends on a finer order of them."""
    assert kind is CallerError or kind.__bases__ == (CallerError,)


@pytest.mark.parametrize("kind", ALL)
def test_every_error_says_what_to_try_next(kind: type[KeywheelError]) -> None:
    """In a sentence."""
    hint = kind("A text.").hint()
    assert hint[0].isupper() or hint.startswith(("docs/", "`"))
    assert hint.endswith(".")


@pytest.mark.parametrize("kind", ALL)
def test_every_error_says_in_its_class_what_it_means(kind: type[KeywheelError]) -> None:
    """In a sentence of its own."""
    assert kind.__doc__ is not None
    assert kind.__doc__.split("\n")[0].endswith((".", ":"))


@pytest.mark.parametrize("kind", CALLERS)
def test_every_error_of_the_caller_has_a_code_of_aws(kind: type[CallerError]) -> None:
    """In the form that AWS's have."""
    assert kind.code.isalpha()
    assert kind.code.endswith(("Exception", "Failure"))


@pytest.mark.parametrize("kind", TARGETS)
def test_every_error_of_a_target_has_its_class_for_a_code(kind: type[TargetError]) -> None:
    """It is what the journal keeps and a person looks up."""
    assert kind.code == kind.__name__


def test_codes_tell_errors_apart() -> None:
    """Only the general kind of the caller's error shares its code, with the one that says why."""
    codes = [kind.code for kind in CALLERS if kind is not CallerError] + [kind.code for kind in TARGETS]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", ALL)
def test_a_hint_of_its_own_goes_before_that_of_the_class(kind: type[KeywheelError]) -> None:
    """And the message is what was given."""
    error = kind("A text.", hint="Do this.")
    assert (error.hint(), error.message, str(error)) == ("Do this.", "A text.", "A text.")


def test_an_error_may_say_nothing() -> None:
    """Its class says it."""
    assert (errors.Fenced().message, str(errors.Fenced())) == ("", "")
