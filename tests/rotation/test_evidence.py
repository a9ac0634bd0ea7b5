"""The evidence of a rotation says what happened, and no more: from the journal, signed, without a value."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from keywheel import verifier
from keywheel.access.access_keys import Role
from keywheel.access.door import Caller, authorize
from keywheel.api import evidence as api
from keywheel.errors import AccessDenied, InvalidRequest, ResourceNotFound
from keywheel.keys.signing import signing_key
from keywheel.rotation import evidence as stated_by
from keywheel.rotation.controls import MET, NOT_SHOWN, NOT_YET
from keywheel.rotation.particulars import iso_of
from keywheel.secrets.labels import CURRENT, PREVIOUS
from tests.support.account import ALTERNATING_USERS, SCOPE, SINGLE_USER, Account
from tests.support.memory_target import MemoryTarget

CALLER = Caller(SCOPE.arn("iam", "user/auditor"), SCOPE, Role.ADMINISTRATOR, "AKIAAUDITOR")
GRACE = "keywheel:grace-period"


def answer(account: Account, name: str, version: str | None = None, **options: bool) -> api.GetRotationEvidenceResponse:
    """GetRotationEvidence."""
    request = api.GetRotationEvidenceRequest(secret_id=name, version_id=version, **options)
    return api.get_rotation_evidence(account.rooms, CALLER, request)


def evidence(account: Account, name: str, version: str | None = None) -> dict[str, Any]:
    """What `keywheel evidence` starts from, as it is on the wire."""
    document: dict[str, Any] = json.loads(msgspec.json.encode(answer(account, name, version).evidence))
    return document


def statement(account: Account, name: str, version: str | None = None) -> dict[str, Any]:
    """What the server states."""
    stated: dict[str, Any] = evidence(account, name, version)["statement"]
    return stated


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    """The verdict on each control."""
    return {one["control"]: one["verdict"] for one in document["controls"]}


def steps(stated: dict[str, Any]) -> list[tuple[str, str]]:
    """Each step and how it ended."""
    return [(one["step"], one["outcome"]) for one in stated["steps"]]


# --- a rotation that succeeded ---------------------------------------------------------------------------------------


def test_who_why_when_and_every_step(account: Account) -> None:
    """Of a single user's rotation that somebody asked for; each step has its beginning, end, engine and epoch."""
    version = account.rotated("app", SINGLE_USER, days=30)
    stated = statement(account, "app")
    asked, rotation = stated["asked"], stated["rotation"]
    assert (asked["by"], asked["access_key_id"]) == (SCOPE.arn("iam", "user/admin"), "AKIAADMIN")
    assert (asked["cause"], rotation["version"], rotation["outcome"]) == ("RotateSecret", version, "succeeded")
    assert steps(stated) == [(step, "done") for step in ("create", "set", "test", "finish", "retire")]
    for step in stated["steps"]:
        assert asked["at"] <= step["began"] <= step["ended"]
        assert (step["engine"], step["attempts"]) == ("engine-1", 1)
        assert step["epoch"] in rotation["epochs"]
    assert stated["rotator"]["strategy"] == "single-user"
    assert (stated["rotator"]["target"], stated["rotator"]["place"]) == ("MemoryTarget", "memory.test:7")


def test_the_new_credential_was_verified_and_the_old_one_proved_dead(account: Account) -> None:
    """Each by what the target answered, and when."""
    old = account.labels("app")[CURRENT]
    version = account.rotated("app", SINGLE_USER)
    stated = statement(account, "app")
    new, former = stated["new_credential"], stated["old_credential"]
    assert (new["version"], new["state"], new["where"]) == (version, "verified", "memory.test:7")
    assert (new["labels_now"], former["labels_now"]) == ([CURRENT], [PREVIOUS])
    assert (former["version"], former["state"], former["due"]) == (old, "dead", None)
    assert former["at"] >= new["at"]


def test_a_scheduled_rotation_was_asked_for_by_its_rules(account: Account) -> None:
    """And they are those that were in force then, whatever came after."""
    account.rotated("app", SINGLE_USER, days=30)
    account.pass_time(days=32)
    first = statement(account, "app")
    assert (first["asked"]["by"], first["asked"]["cause"]) == ("the schedule", "schedule")
    assert (first["policy"]["days"], first["policy"]["in_force"]) == (30, stated_by.RECORDED)
    assert first["policy"]["password"] == {"length": 20, "excluded_characters": "'\"\\"}
    account.rotated("app", days=90)
    assert statement(account, "app", first["rotation"]["version"])["policy"]["days"] == 30
    assert statement(account, "app")["policy"]["days"] == 90


def test_an_old_credential_in_its_grace_period_is_not_dead_yet(account: Account) -> None:
    """The bundle says until when; after the period, it says when it was proved dead."""
    account.tag("pair", GRACE, "12h")
    account.rotated("pair", ALTERNATING_USERS)
    waiting = evidence(account, "pair")
    old = waiting["statement"]["old_credential"]
    assert (old["state"], waiting["statement"]["policy"]["grace"]) == ("in grace", 43_200)
    assert old["due"] == iso_of(account.rotation("pair").retire_at)
    assert verdicts(waiting)["CC6.1"] == NOT_YET
    account.pass_time(hours=13)
    ended = evidence(account, "pair")
    assert ended["statement"]["old_credential"]["state"] == "dead"
    assert steps(ended["statement"])[-1] == ("retire", "done")
    assert verdicts(ended)["CC6.1"] == MET


def test_without_a_grace_period_alternating_users_keep_the_old_one_until_its_turn(account: Account) -> None:
    """After that it was replaced, which is not the same as proved."""
    first = account.rotated("pair", ALTERNATING_USERS)
    waiting = evidence(account, "pair")
    assert waiting["statement"]["old_credential"]["state"] == "until its next turn"
    assert verdicts(waiting)["A.5.17"] == NOT_YET
    second = account.rotated("pair")
    replaced = evidence(account, "pair", first)
    assert replaced["statement"]["old_credential"]["state"] == "replaced"
    assert second in replaced["statement"]["old_credential"]["how"]
    assert verdicts(replaced)["A.5.17"] == NOT_SHOWN


def test_another_strategy_does_not_replace_what_an_idle_user_has(account: Account, target: MemoryTarget) -> None:
    """A single user's rotation never touches the other user of the pair."""
    first = account.rotated("pair", ALTERNATING_USERS)
    old = account.credential("pair", PREVIOUS)
    account.rotated("pair", SINGLE_USER)
    assert target.accepts(old)
    assert statement(account, "pair", first)["old_credential"]["state"] == "unknown"


def test_a_rotation_that_begins_in_the_grace_period_of_another(account: Account) -> None:
    """It ends the period; that is told of the other one, with all that is its own."""
    account.tag("pair", GRACE, "12h")
    first = account.rotated("pair", ALTERNATING_USERS)
    account.pass_time(hours=1)
    second = account.rotated("pair")
    account.pass_time(hours=13)
    for version in (first, second):
        stated = statement(account, "pair", version)
        assert steps(stated) == [(step, "done") for step in ("create", "set", "test", "finish", "retire")]
        assert {one["attempts"] for one in stated["steps"]} == {1}
        assert [one["event"] for one in stated["events"]].count("RotationStarted") == 1
        assert (stated["asked"]["cause"], stated["old_credential"]["state"]) == ("RotateSecret", "dead")
    assert statement(account, "pair", second)["old_credential"]["version"] == first


def test_what_happens_afterwards_is_not_part_of_it(account: Account, target: MemoryTarget) -> None:
    """A check or a repair of the credential at rest, while an old one waits for its end."""
    account.tag("app", GRACE, "12h")
    first = account.rotated("app", SINGLE_USER)
    account.pass_time(hours=13)
    account.rotated("app")
    before = statement(account, "app", first)["events"]
    target.passwords["app"] = "changed by somebody"
    with account.rooms.database.read() as tx:
        secret = account.rooms.secrets.find(tx, SCOPE, "app")
    account.rooms.database.write(lambda tx: account.rooms.rotations.repair(tx, secret, account.clock.now()))
    account.engine.tick()
    assert account.journal("app")[-1].token == first
    assert statement(account, "app", first)["events"] == before


def test_an_old_credential_that_is_still_accepted_is_not_called_dead(account: Account, target: MemoryTarget) -> None:
    """Its retirement is overdue, and the reason is told."""
    target._logs_in = lambda credential: True  # type: ignore[method-assign] # a target that lets everybody in
    account.rotated("app", SINGLE_USER)
    document = evidence(account, "app")
    old = document["statement"]["old_credential"]
    assert (old["state"], old["due"]) == ("overdue", iso_of(account.rotation("app").retire_at))
    assert "still accepts" in old["how"]
    assert verdicts(document)["CC6.1"] == NOT_YET


def test_what_was_not_tried_is_not_claimed(account: Account) -> None:
    """Somebody went back to the old value before the end of the grace period: no login was refused."""
    account.tag("app", GRACE, "1h")
    version = account.rotated("app", SINGLE_USER)
    old = account.labels("app")[PREVIOUS]
    account.move("app", CURRENT, to=old, away_from=version)
    account.pass_time(hours=2)
    document = evidence(account, "app", version)
    assert steps(document["statement"])[-1] == ("retire", "done")
    assert document["statement"]["old_credential"]["state"] == "unknown"
    assert document["statement"]["old_credential"]["labels_now"] == [CURRENT]
    assert verdicts(document)["CC6.1"] == NOT_SHOWN


def test_a_step_that_was_tried_again_says_how_often(account: Account, target: MemoryTarget) -> None:
    """And the retries are among the events."""
    target.loses_reply_to = "set_password"
    account.rotated("app", SINGLE_USER)
    target.loses_reply_to = ""
    account.sleep("app")
    stated = statement(account, "app")
    tried = next(one for one in stated["steps"] if one["step"] == "set")
    assert (tried["attempts"], tried["outcome"], stated["rotation"]["outcome"]) == (2, "done", "succeeded")
    assert [one["code"] for one in stated["events"] if one["event"] == "StepRetried"] == ["TargetUnavailable"]


# --- one that did not ------------------------------------------------------------------------------------------------


def test_a_failed_rotation_says_so(account: Account, target: MemoryTarget) -> None:
    """With its code; the old credential is in use, and nothing is met by it."""
    account.rotated("app", SINGLE_USER)
    target.refuses = True
    failed = account.rotated("app")
    assert statement(account, "app")["rotation"]["version"] != failed  # by default, the last that succeeded
    document = evidence(account, "app", failed)
    stated = document["statement"]
    assert (stated["rotation"]["outcome"], stated["rotation"]["code"]) == ("failed", "TargetRefused")
    assert (stated["new_credential"]["state"], stated["old_credential"]["state"]) == ("not verified", "in use")
    assert steps(stated) == [("create", "done"), ("set", "refused")]
    found = verdicts(document)
    assert {found[control] for control in ("8.3.9", "8.6.3", "CC6.1", "A.5.17", "IA-5 f")} == {NOT_SHOWN}


def test_a_rotation_that_was_rolled_back_says_so(account: Account, target: MemoryTarget) -> None:
    """The target changed the password and then refused it."""
    account.rotated("pair", SINGLE_USER)
    target.meanwhile = lambda verb: target.passwords.update(pair="another") if verb == "accepts" else None
    version = account.rotated("pair")
    for _ in range(3):
        account.sleep("pair")
    target.meanwhile = lambda _: None
    for _ in range(3):
        if account.rotation("pair").failed:
            break
        account.sleep("pair")
    stated = statement(account, "pair", version)
    assert stated["rotation"]["outcome"] == "rolled back"
    assert ("repair", "done") in steps(stated)
    assert stated["new_credential"]["state"] == "not verified"


def test_a_cancelled_rotation_says_so(account: Account, target: MemoryTarget) -> None:
    """And by whom."""
    target.down = True
    version = account.rotated("app", SINGLE_USER)
    account.cancel("app")
    stated = statement(account, "app", version)
    assert stated["rotation"]["outcome"] == "cancelled"
    assert stated["events"][-1]["detail"]["AskedBy"] == SCOPE.arn("iam", "user/admin")


def test_another_value_after_one_that_the_policy_refused_names_the_first(
    account: Account, target: MemoryTarget
) -> None:
    """Both are rotations of their own in the journal."""
    rejected: list[str] = []

    def rejects(password: str) -> bool:
        rejected.append(password)
        return len(rejected) == 1

    target.rejects = rejects
    first = account.rotated("app", SINGLE_USER)
    account.sleep("app")
    stated = statement(account, "app")
    assert stated["asked"]["instead_of"] == first
    assert stated["rotation"]["outcome"] == "succeeded"
    assert statement(account, "app", first)["rotation"]["code"] == "PasswordRejected"
    assert answer(account, "app").earlier == first


def test_a_secret_that_was_never_rotated_has_no_evidence(account: Account) -> None:
    """Nor has a version that no rotation made."""
    with pytest.raises(InvalidRequest, match="No rotation"):
        answer(account, "app")
    account.rotated("app", SINGLE_USER)
    with pytest.raises(ResourceNotFound):
        answer(account, "app", account.labels("app")[PREVIOUS])


# --- the document ----------------------------------------------------------------------------------------------------


def test_no_value_is_in_it(account: Account, target: MemoryTarget) -> None:
    """Of no version, after whatever happened."""
    account.tag("pair", GRACE, "1h")
    account.rotated("pair", ALTERNATING_USERS)
    target.refuses = True
    account.rotated("pair")
    target.refuses = False
    account.pass_time(days=2)
    values = {account.text("pair", version=version) for version in account.versions("pair")}
    passwords = {json.loads(value)["password"] for value in values} | {"admin-password", "pair-password"}
    assert len(passwords) > 3
    rotations = {note.token for note in account.journal("pair") if note.event == "RotationStarted"}
    for version in rotations:
        text = json.dumps(evidence(account, "pair", version))
        assert not [password for password in passwords if password in text or json.dumps(password)[1:-1] in text]
    dump = json.dumps(account.dump()["journal"])
    assert not [password for password in passwords if password in dump]


def test_the_statement_is_signed(account: Account) -> None:
    """By the key of the audit ledger, and not when a word is changed."""
    account.rotated("app", SINGLE_USER)
    document = evidence(account, "app")
    with account.rooms.database.read() as tx:
        pem = signing_key(tx, account.house.keys).public_pem().encode()
    assert "succeeded" in verifier.verify_evidence(document, verifier.read_key(pem))
    document["statement"]["old_credential"]["state"] = "in grace"
    with pytest.raises(ValueError, match="not signed"):
        verifier.verify_evidence(document, verifier.read_key(pem))


def test_every_rotation_is_reached_from_the_newest(account: Account, target: MemoryTarget) -> None:
    """Also one that failed; a rehearsal is none."""
    made = [account.rotated("app", SINGLE_USER), account.rotated("app")]
    account.rotate("app", immediately=False)
    account.engine.tick()
    target.refuses = True
    made.append(account.rotated("app"))
    reached = [answer(account, "app", newest=True)]
    while (earlier := reached[-1].earlier) is not None:
        reached.append(answer(account, "app", earlier))
    assert [one.version_id for one in reached] == made[::-1]


def test_what_only_the_ledger_can_prove_is_not_shown_without_it(account: Account) -> None:
    """And the rest of the controls is judged by what the statement says."""
    account.rotated("app", SINGLE_USER, days=30)
    account.pass_time(days=32)
    found = verdicts(evidence(account, "app"))
    assert {found[control] for control in ("10.2.1.5", "A.8.15", "AU-10", "AU-12")} == {NOT_SHOWN}
    met = ("8.3.9", "8.6.3", "10.2.2", "CC6.1", "A.5.17", "IA-5 f", "IA-5(1)(h)", "AU-3")
    assert {control: found[control] for control in met} == dict.fromkeys(met, MET)


def test_a_credential_that_lived_too_long_is_not_within_the_quarter(account: Account) -> None:
    """However well the rotation itself went."""
    account.rotated("app", SINGLE_USER)
    account.pass_time(days=91)
    account.rotated("app")
    assert verdicts(evidence(account, "app"))["8.3.9"] == NOT_SHOWN


def test_only_an_administrator_may_ask() -> None:
    """It tells who holds which access key."""
    reader = Caller(CALLER.arn, SCOPE, Role.READ_ONLY, "AKIAREADER")
    with pytest.raises(AccessDenied):
        authorize(reader, "keywheel:GetRotationEvidence", "*", {})
    authorize(CALLER, "keywheel:GetRotationEvidence", "*", {})
