"""ReencryptSecrets by signed requests: what is not a request is refused, and who may not is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from keywheel.access.access_keys import Role
from tests.conformance.server import Answer, Server, fresh_region


def post(server: Server, members: Mapping[str, Any], **options: Any) -> Answer:
    return server.post("ReencryptSecrets", members, prefix="keywheel.", **options)


@pytest.mark.parametrize(
    "members",
    [
        {"Generation": 1},
        {"KeyId": "alias/none"},
        {"KeyId": "no key"},
        {"KeyId": 7},
        *({"NextToken": token} for token in ("x", "1:x", "1:x:1", "1:x:y:z", f"{2**63}:x:1:y", "1:x:1:\0", "-1:x:1:y")),
    ],
)
def test_what_is_no_request_is_refused(server: Server, members: dict[str, Any]) -> None:
    """With an error of the caller's; a token that this server did not make is nobody's run."""
    assert post(server, members, region=fresh_region()).status == 400


def test_a_reader_moves_nothing(server: Server) -> None:
    """It is an action on the key that is left, or on everything; a dry run, too."""
    region, reader = fresh_region(), server.access_key(Role.READ_ONLY)
    key = server.kms_key(region=region, alias="alias/k")
    for members, resource in (({"KeyId": "alias/k"}, key), ({}, "*")):
        for dry in (False, True):
            answer = post(server, {**members, "DryRun": dry}, region=region, pair=reader)
            assert answer.error[0] == "AccessDeniedException"
            assert f"keywheel:ReencryptSecrets on resource: {resource}" in answer.error[1]


def test_a_key_of_another_account_is_none_of_theirs(server: Server) -> None:
    """Who looks after one account moves nothing of another, whatever they name."""
    region = fresh_region()
    key = server.kms_key(region=region)
    other = server.access_key(Role.ADMINISTRATOR, account="210987654321", user="other")
    assert post(server, {"KeyId": key}, region=region, pair=other).status == 400
    assert post(server, {}, region=region, pair=other).json["Examined"] == 0
