"""What is known of a request besides who asks what: the condition keys that every action has. Pure.

Keys are in lower case. A key that says nothing here is left out, so that a condition finds it absent.

Source: the IAM guide on global condition context keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from keywheel.access.principals import Principal, Sort

if TYPE_CHECKING:
    from keywheel.keys.rows import Key

Facts = dict[str, str | tuple[str, ...]]


class Gathered(Mapping[str, str | tuple[str, ...]]):
    """Facts that are gathered when the first condition asks for one. Most policies ask for none."""

    __slots__ = ("_found", "_gather")

    def __init__(self, gather: Callable[[], Facts]) -> None:
        self._gather = gather
        self._found: Facts | None = None

    def _facts(self) -> Facts:
        if self._found is None:
            self._found = self._gather()
        return self._found

    def __getitem__(self, key: str) -> str | tuple[str, ...]:
        return self._facts()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts())

    def __len__(self) -> int:
        return len(self._facts())


def principal_facts(principal: Principal) -> Facts:
    """What is known of who asks."""
    if principal.sort is Sort.SERVICE:
        return {"aws:principalisawsservice": "true", "aws:principalservicename": principal.name}
    facts: Facts = {
        "aws:principalarn": principal.identity,
        "aws:principalaccount": principal.account,
        "aws:principaltype": principal.sort.value,
        "aws:principalisawsservice": "false",
        "kms:calleraccount": principal.account,
    }
    if principal.sort is Sort.USER:
        facts["aws:username"] = principal.name
    return facts


def request_facts(*, now: datetime, region: str, source_ip: str | None, secure: bool) -> Facts:
    """What is known of how and when it is asked."""
    facts: Facts = {
        "aws:currenttime": f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "aws:epochtime": str(int(now.timestamp())),
        "aws:requestedregion": region,
        "aws:securetransport": "true" if secure else "false",
        "aws:viaawsservice": "false",
    }
    if source_ip is not None:
        facts["aws:sourceip"] = source_ip
    return facts


def by_way_of(service: str, region: str) -> Facts:
    """What is known besides when a service asks on the caller's behalf."""
    return {"kms:viaservice": f"{service}.{region}.amazonaws.com", "aws:viaawsservice": "true"}


def tag_facts(prefix: str, tags: Iterable[tuple[str, str]]) -> Facts:
    """Tags, each as a key: `prefix` is such as aws:ResourceTag or aws:RequestTag."""
    return folded((f"{prefix}/{name}", value) for name, value in tags)


def key_facts(key: Key) -> Facts:
    """What is known of a key."""
    known: Facts = {"kms:keyspec": key.spec, "kms:keyusage": key.usage, "kms:keyorigin": key.origin}
    known |= region_facts(key.multi_region)
    return known | (tag_facts("aws:ResourceTag", key.tags.items()) if key.tags_json != "{}" else {})


def region_facts(multi_region: str | None) -> Facts:
    """Of how many Regions a key is. `multi_region`: PRIMARY or REPLICA, None for a key of one Region."""
    if multi_region is None:
        return {"kms:multiregion": "false"}
    return {"kms:multiregion": "true", "kms:multiregionkeytype": multi_region}


def encryption_facts(context: Mapping[str, str]) -> Facts:
    """An encryption context, as the condition keys of KMS have it. None, where there is none."""
    facts = folded((f"kms:EncryptionContext:{name}", value) for name, value in context.items())
    return facts | ({"kms:encryptioncontextkeys": tuple(context)} if context else {})


def folded(pairs: Iterable[tuple[str, str]]) -> Facts:
    """Facts by key in lower case; keys that differ in nothing but case become one of several values."""
    facts: Facts = {}
    for name, value in pairs:
        key = name.lower()
        before = facts.get(key, ())
        values = (*(before if isinstance(before, tuple) else (before,)), value)
        facts[key] = values if len(values) > 1 else value
    return facts
