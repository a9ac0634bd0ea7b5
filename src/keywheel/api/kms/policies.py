"""Key policies: checked, stored and given back. Finding a key evaluates its policy (finding.py)."""

from __future__ import annotations

from datetime import datetime

from keywheel.access.checks import locks_out_of_key
from keywheel.access.documents import Kind
from keywheel.access.door import Caller
from keywheel.access.policy import compile_policy
from keywheel.api.kms import shapes as s
from keywheel.api.kms.finding import change, find, policy_of
from keywheel.api.kms.paging import Bookmarks
from keywheel.api.rooms import Rooms
from keywheel.db.statement import Tx
from keywheel.errors import LimitExceeded, MalformedPolicyDocument
from keywheel.keys.errors import KeyNotFound
from keywheel.keys.keyring import Key

_NAME = "default"
_LONGEST = 32 * 1024


def checked_policy(text: str, caller: Caller, key_arn: str, *, bypass: bool) -> None:
    """Nothing, where `text` may be the key's policy. `bypass`: it may keep the caller from changing it afterwards.

    Raises:
        LimitExceeded: it is too long.
        MalformedPolicyDocument: it is no policy, or it locks the caller out.
    """
    if len(text) > _LONGEST:
        raise LimitExceeded(f"The key policy is longer than {_LONGEST} bytes.")
    policy = compile_policy(text, Kind.KEY)
    if not bypass and locks_out_of_key(policy, caller.authority.principal, key_arn, caller.facts):
        raise MalformedPolicyDocument("The new key policy will not allow you to update the key policy in the future.")


def get_key_policy(rooms: Rooms, caller: Caller, request: s.GetKeyPolicyRequest) -> s.GetKeyPolicyResponse:
    """The policy of a key, as it was given."""
    with rooms.database.read() as tx:
        key = find(rooms, tx, caller, "GetKeyPolicy", request.key_id)
        _check_name(request.policy_name)
        policy = policy_of(rooms, tx, key)
    return s.GetKeyPolicyResponse(policy=policy, policy_name=_NAME)


def put_key_policy(rooms: Rooms, caller: Caller, request: s.PutKeyPolicyRequest) -> None:
    """Give a key another policy."""

    def work(tx: Tx, key: Key, now: datetime) -> None:
        del now
        _check_name(request.policy_name)
        checked_policy(request.policy, caller, key.arn, bypass=bool(request.bypass_policy_lockout_safety_check))
        rooms.keys.lifecycle.put_policy(tx, key, request.policy)

    change(rooms, caller, "PutKeyPolicy", request.key_id, work, request)


def list_key_policies(rooms: Rooms, caller: Caller, request: s.ListKeyPoliciesRequest) -> s.ListKeyPoliciesResponse:
    """The names of the policies: always `default`, and nothing but that."""
    with rooms.database.point() as tx:
        key = find(rooms, tx, caller, "ListKeyPolicies", request.key_id)
    Bookmarks(str, "ListKeyPolicies", key.arn).read(request.marker)
    return s.ListKeyPoliciesResponse(policy_names=[_NAME], truncated=False)


def _check_name(name: str | None) -> None:
    if name not in (None, _NAME):
        raise KeyNotFound("No such policy exists")
