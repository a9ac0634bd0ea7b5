"""Session tags: what whoever assumes a role says of the session, and what of it the next session inherits. Pure.

1. A tag of the session counts before the role's tag of that name. Names differ in more than case.
2. A transitive tag goes on into the sessions that are begun in this one, and cannot be given another value there.

Source: the IAM guide on passing session tags, and the STS reference of AssumeRole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from keywheel.errors import InvalidParameter

_MOST = 50
_KEY = re.compile(r"[\w\s.:/=+\-@]{1,128}")
_VALUE = re.compile(r"[\w\s.:/=+\-@]{0,256}")


@dataclass(frozen=True, slots=True)
class SessionTags:
    """The tags of a session, and the names of those that are transitive."""

    tags: Mapping[str, str] = field(default_factory=dict)
    transitive: tuple[str, ...] = ()

    def stored(self) -> str:
        """As the store keeps them."""
        return json.dumps({"tags": dict(self.tags), "transitive": list(self.transitive)}) if self.tags else "{}"

    @classmethod
    def of_stored(cls, text: str) -> SessionTags:
        """What `stored` made."""
        found = json.loads(text)
        return cls(found.get("tags", {}), tuple(found.get("transitive", ())))


NO_TAGS = SessionTags()


def checked_tags(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Tags of a principal or of a session.

    Raises:
        InvalidParameter: there are too many, one is not valid, or two have the same name.
    """
    found: dict[str, str] = {}
    for key, value in pairs:
        if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            raise InvalidParameter("The key or the value of a tag is too long, or has characters that are not allowed.")
        if key.lower() in {name.lower() for name in found}:
            raise InvalidParameter("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        found[key] = value
    if len(found) > _MOST:
        raise InvalidParameter(f"There are more than {_MOST} tags.")
    return found


def passed_on(before: SessionTags, pairs: Iterable[tuple[str, str]], transitive: Iterable[str]) -> SessionTags:
    """The tags of a session that is begun with these by a session with the tags `before`.

    Raises:
        InvalidParameter: they are not valid, or say otherwise what is inherited.
    """
    given, marked = checked_tags(pairs), tuple(transitive)
    if not {name.lower() for name in marked} <= {name.lower() for name in given}:
        raise InvalidParameter("The specified transitive tag key must be included in the requested tags.")
    inherited = {name: before.tags[name] for name in before.transitive}
    if {name.lower() for name in inherited} & {name.lower() for name in given}:
        raise InvalidParameter(
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from "
            "the calling session."
        )
    return SessionTags({**inherited, **given}, (*inherited, *marked))


def effective(of_role: Mapping[str, str], session: SessionTags) -> dict[str, str]:
    """What aws:PrincipalTag says in a session (rule 1)."""
    said = {name.lower() for name in session.tags}
    return {**{name: value for name, value in of_role.items() if name.lower() not in said}, **session.tags}
