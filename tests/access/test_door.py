"""The door: who is let in, for how long that is remembered, and who may do what."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest

from keywheel.access import door
from keywheel.access.access_keys import AccessKey, AccessKeys, Role
from keywheel.access.door import Caller, Door, authorize, authorize_secret
from keywheel.access.identities import Identities, Sort
from keywheel.access.sessions import Issued, Sessions
from keywheel.access.sigv4 import Request, presign, sign
from keywheel.api.operations import TABLE
from keywheel.arn import Scope
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import (
    AccessDenied,
    ConfigurationError,
    ExpiredToken,
    InvalidSignature,
    MissingAuthenticationToken,
    ResourceNotFound,
    UnrecognizedClient,
)
from keywheel.keys.keyring import Keys
from keywheel.sensitive import Sensitive
from keywheel.testing import ManualClock
from tests.support.policies import document

ACCOUNT, ID, SECRET = "1" * 12, "AKIAIOSFODNN7EXAMPLE", Sensitive("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
ARN = f"arn:aws:iam::{ACCOUNT}:user/app"
HEADERS = [(b"host", b"localhost"), (b"x-amz-target", b"secretsmanager.GetSecretValue")]
PLAIN = Request("POST", b"/", b"", HEADERS, b'{"SecretId":"a"}')
BLINK = timedelta(microseconds=1)


class Place:
    """A door, with one access key that it knows."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database, self.clock = database, clock
        keys = Keys(Sensitive(os.urandom(32)))
        self.access_keys, self.sessions = AccessKeys(keys), Sessions(keys)
        self.door = Door(database, self.access_keys, clock, self.sessions)
        self.create(Role.ADMINISTRATOR)

    def create(self, role: Role, secret: Sensitive[str] = SECRET) -> None:
        self.database.write(
            lambda tx: self.access_keys.create(
                tx, account=ACCOUNT, name="app", role=role, now=self.clock.now(), access_key_id=ID, secret=secret
            )
        )

    def delete(self) -> None:
        assert self.database.write(lambda tx: self.access_keys.delete(tx, ID))

    def signed(
        self,
        secret: Sensitive[str] = SECRET,
        *,
        id_: str = ID,
        region: str = "eu-west-1",
        service: str = "secretsmanager",
    ) -> Request:
        """A request as a client signs it now."""
        now = self.clock.now()
        extra = sign(PLAIN, access_key_id=id_, secret=secret, region=region, service=service, now=now)
        return PLAIN._replace(headers=[*HEADERS, *extra])

    def comes(self, request: Request | None = None) -> Caller:
        """Who the door says it is."""
        return self.door.authenticate(request or self.signed())


@pytest.fixture
def place(database: Database, clock: ManualClock) -> Place:
    """A door on each kind of store, and a clock that stands still."""
    return Place(database, clock)


# --- who it is -----------------------------------------------------------------------------------------------------


def test_whoever_signs_is_let_in(place: Place) -> None:
    """With the account and role of the access key, and the Region of the signature."""
    assert place.comes() == Caller(ARN, Scope(ACCOUNT, "eu-west-1"), Role.ADMINISTRATOR, ID)


def test_each_region_of_one_access_key_is_its_own_scope(place: Place) -> None:
    """Also where requests to several come within a second."""
    regions = ["eu-west-1", "us-east-1", "eu-west-1", "ap-south-1"]
    assert [place.comes(place.signed(region=region)).scope.region for region in regions] == regions


def test_a_presigned_request_is_let_in(place: Place) -> None:
    """Its query signs it."""
    now = place.clock.now()
    query = presign(PLAIN, 60, access_key_id=ID, secret=SECRET, region="eu-west-1", service="secretsmanager", now=now)
    assert place.comes(PLAIN._replace(query=query)).arn == ARN


def test_whoever_does_not_sign_is_refused(place: Place) -> None:
    """As nobody."""
    with pytest.raises(MissingAuthenticationToken):
        place.comes(PLAIN)


def test_an_unknown_access_key_is_refused(place: Place) -> None:
    """As often as it comes."""
    for _ in range(2):
        with pytest.raises(UnrecognizedClient):
            place.comes(place.signed(id_="AKIAI44QH8DHBEXAMPLE"))


def test_a_wrong_secret_half_is_refused(place: Place) -> None:
    """As often as it comes, and whoever has the right one is let in meanwhile."""
    for _ in range(2):
        with pytest.raises(InvalidSignature):
            place.comes(place.signed(Sensitive("x" * 40)))
        place.comes()


@pytest.mark.parametrize("service", ["s3", "SecretsManager", "KMS"])
def test_a_signature_for_another_service_is_refused(place: Place, service: str) -> None:
    """It may have been caught elsewhere."""
    with pytest.raises(InvalidSignature):
        place.comes(place.signed(service=service))


@pytest.mark.parametrize(("signed", "asked"), [("kms", "secretsmanager"), ("secretsmanager", "kms")])
def test_a_signature_for_the_other_service_is_refused(place: Place, signed: str, asked: str) -> None:
    """Each operation asks for its own."""
    request = place.signed(service=signed)
    place.door.authenticate(request, frozenset({signed}))
    with pytest.raises(InvalidSignature):
        place.door.authenticate(request, frozenset({asked}))


def test_a_body_that_was_changed_is_refused(place: Place) -> None:
    """It is part of what was signed."""
    with pytest.raises(InvalidSignature):
        place.comes(place.signed()._replace(body=b'{"SecretId":"b"}'))


@pytest.mark.parametrize("minutes", [-6, 6])
def test_an_old_request_is_refused(place: Place, minutes: int) -> None:
    """And one from the future."""
    request = place.signed()
    place.clock.set(place.clock.now() + timedelta(minutes=minutes))
    with pytest.raises(InvalidSignature):
        place.comes(request)


# --- what is remembered --------------------------------------------------------------------------------------------


def test_a_deleted_access_key_is_refused_within_a_second(place: Place) -> None:
    """Remembered until then, and not a moment longer, however often it comes meanwhile."""
    place.comes()
    place.delete()
    for _ in range(4):
        place.comes()
        place.clock.advance(timedelta(seconds=0.2))
    place.clock.advance(timedelta(seconds=0.2))
    with pytest.raises(UnrecognizedClient):
        place.comes()


def test_an_access_key_is_looked_up_once_a_second(place: Place) -> None:
    """Not for each request: what is deleted is still let in just before, and not after."""
    place.comes()
    place.delete()
    place.clock.advance(timedelta(seconds=1) - BLINK)
    place.comes()
    place.clock.advance(BLINK)
    with pytest.raises(UnrecognizedClient):
        place.comes()


def test_a_correction_of_the_time_of_day_prolongs_nothing(place: Place) -> None:
    """What is remembered is measured on the clock that never goes back."""
    place.comes()
    place.delete()
    place.clock.advance(timedelta(seconds=1))
    place.clock.set(place.clock.now() - timedelta(hours=1))
    with pytest.raises(UnrecognizedClient):
        place.comes()


def test_an_access_key_made_after_it_was_asked_for_is_known_within_a_second(place: Place) -> None:
    """That it was unknown is remembered as long."""
    place.delete()
    with pytest.raises(UnrecognizedClient):
        place.comes()
    place.create(Role.READ_ONLY)
    place.clock.advance(timedelta(seconds=1))
    assert place.comes().role is Role.READ_ONLY


def test_a_changed_access_key_is_seen_within_a_second(place: Place) -> None:
    """Its role and its secret half: what was derived from the old one is not used."""
    place.comes()
    place.delete()
    place.create(Role.READ_ONLY, Sensitive("y" * 40))
    place.clock.advance(timedelta(seconds=1))
    with pytest.raises(InvalidSignature):
        place.comes()
    assert place.comes(place.signed(Sensitive("y" * 40))).role is Role.READ_ONLY


def test_what_is_remembered_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many access keys strangers make up; who is known is let in all the same."""
    monkeypatch.setattr(door, "_REMEMBERED", 10)
    for number in range(50):
        with pytest.raises(UnrecognizedClient):
            place.comes(place.signed(id_=f"AKIA{number:016d}"))
        place.comes()
    assert len(place.door._known) <= 10


# --- what they may do ----------------------------------------------------------------------------------------------

ACTIONS = sorted({operation.action for operation in TABLE.values()})
READING = {
    "kms:DescribeCustomKeyStores",
    "kms:DescribeKey",
    "kms:GetKeyLastUsage",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:GetParametersForImport",
    "kms:GetPublicKey",
    "kms:ListAliases",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListKeys",
    "kms:ListResourceTags",
    "kms:ListRetirableGrants",
    "keywheel:DescribeAliasRotation",
    "keywheel:DescribeClock",
    "keywheel:GetKeySet",
    "keywheel:ListAliasRotationEvents",
    "keywheel:ListAliasRotations",
    "keywheel:ListRotationEvents",
    "keywheel:ListRotations",
    "secretsmanager:BatchGetSecretValue",
    "secretsmanager:DescribeSecret",
    "secretsmanager:GetRandomPassword",
    "secretsmanager:GetResourcePolicy",
    "secretsmanager:GetSecretValue",
    "secretsmanager:ListResourcePolicies",
    "secretsmanager:ListSecretVersionIds",
    "secretsmanager:ListSecrets",
    "secretsmanager:ValidateResourcePolicy",
}
SECRET_ARN = f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:a"


def caller(role: Role) -> Caller:
    return Caller(ARN, Scope(ACCOUNT, "eu-west-1"), role, ID)


@pytest.mark.parametrize("action", ACTIONS)
def test_an_administrator_may(action: str) -> None:
    """Do everything."""
    authorize(caller(Role.ADMINISTRATOR), action, "*", {})


@pytest.mark.parametrize("action", sorted(READING))
def test_whoever_only_reads_may(action: str) -> None:
    """Do what changes nothing; values are read, too."""
    authorize(caller(Role.READ_ONLY), action, "*", {})


@pytest.mark.parametrize("action", sorted(set(ACTIONS) - READING))
def test_whoever_only_reads_may_not(action: str) -> None:
    """Do anything else; the text is AWS's."""
    with pytest.raises(AccessDenied) as caught:
        authorize(caller(Role.READ_ONLY), action, SECRET_ARN, {})
    assert caught.value.message == (
        f"User: {ARN} is not authorized to perform: {action} on resource: {SECRET_ARN} "
        f"because no identity-based policy allows the {action} action"
    )


def test_every_action_is_in_one_of_the_tables() -> None:
    """An operation that is added must be put into one of them."""
    assert set(ACTIONS) >= READING


@pytest.mark.parametrize("action", ["", "GetSecretValue", "secretsmanager:", "secretsmanager:PutGet", "x:Put:Get"])
def test_what_is_no_action_of_a_reader_is_refused(action: str) -> None:
    """Only the beginning of the name after the service counts."""
    with pytest.raises(AccessDenied):
        authorize(caller(Role.READ_ONLY), action, "*", {})


# --- whose policies --------------------------------------------------------------------------------------------------

READ = document({"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"})
NEVER = document({"Effect": "Deny", "Action": "secretsmanager:GetSecretValue", "Resource": "*"})
TRUST = document({"Effect": "Allow", "Principal": {"AWS": ARN}, "Action": "sts:AssumeRole"})
GET = "secretsmanager:GetSecretValue"
IDENTITIES = Identities()


def put(place: Place, name: str, text: str, sort: Sort = Sort.USER, owner: str = "app") -> None:
    """Put a policy on the user of the access key, or on another."""
    now = place.clock.now()
    place.database.write(lambda tx: IDENTITIES.put_policy(tx, ACCOUNT, sort, owner, name=name, document=text, now=now))


def user(place: Place, role: Role) -> None:
    """Make the user of the access key known, with a key of this role."""
    place.delete()
    now = place.clock.now()
    place.database.write(lambda tx: IDENTITIES.create_user(tx, account=ACCOUNT, name="app", now=now))
    place.create(role)


def may(place: Place, action: str = GET) -> bool:
    """Whether the sender of a request signed now may do this."""
    place.clock.advance(timedelta(seconds=1))
    try:
        authorize(place.comes(), action, SECRET_ARN, {})
    except AccessDenied:
        return False
    return True


def test_a_key_of_policies_does_what_its_user_may(place: Place) -> None:
    """A second after that has changed."""
    user(place, Role.POLICIES)
    assert not may(place)
    put(place, "read", READ)
    assert may(place)
    assert not may(place, "secretsmanager:PutSecretValue")
    put(place, "never", NEVER)
    assert not may(place)


def test_an_administrator_is_bound_by_a_denial(place: Place) -> None:
    """The user's own policies count besides the built-in one."""
    user(place, Role.ADMINISTRATOR)
    assert may(place)
    put(place, "never", NEVER)
    assert not may(place)
    assert may(place, "secretsmanager:PutSecretValue")


def test_an_inactive_access_key_is_unknown(place: Place) -> None:
    """Until it is switched on again."""
    for active in (False, True):
        place.database.write(lambda tx, active=active: AccessKeys.set_active(tx, ID, active=active))  # type: ignore[misc] # bound now
        place.clock.advance(timedelta(seconds=1))
        if active:
            place.comes()
        else:
            with pytest.raises(UnrecognizedClient):
                place.comes()


def listed(place: Place) -> AccessKey:
    """The access key, as a list shows it."""
    with place.database.read() as tx:
        return place.access_keys.list(tx)[0]


def test_when_an_access_key_was_last_used_is_kept(place: Place) -> None:
    """Within an hour, with the service and the Region; not for what was refused."""
    with pytest.raises(InvalidSignature):
        place.door.authenticate(place.signed(Sensitive("another secret half of it".replace(" ", "-"))))
    first = place.clock.now()
    place.comes()
    place.database.write(lambda tx: None)  # what was to be done later is done by now, or soon

    def used() -> AccessKey:
        for _ in range(200):
            if listed(place).used is not None:
                break
            time.sleep(0.02)
        return listed(place)

    found = used()
    assert (found.used, found.used_service, found.used_region) == (first.timestamp(), "secretsmanager", "eu-west-1")


def test_a_user_has_two_access_keys_at_most(place: Place) -> None:
    """A third is refused, until one is deleted."""
    user(place, Role.POLICIES)

    def another(access_key_id: str) -> None:
        now = place.clock.now()
        place.database.write(
            lambda tx: place.access_keys.create(
                tx, account=ACCOUNT, name="app", role=Role.POLICIES, now=now, access_key_id=access_key_id, secret=SECRET
            )
        )

    another("B" * 20)
    with pytest.raises(ConfigurationError, match="2 access keys already"):
        another("C" * 20)
    place.database.write(lambda tx: place.access_keys.delete(tx, "B" * 20))
    another("C" * 20)


def test_a_key_of_policies_needs_a_user(place: Place) -> None:
    """Nobody else has any."""
    place.delete()
    with pytest.raises(ResourceNotFound, match="no user app"):
        place.create(Role.POLICIES)


# --- sessions --------------------------------------------------------------------------------------------------------


@pytest.fixture
def issued(place: Place) -> Issued:
    """A session of a role that may read, for a quarter of an hour."""
    now = place.clock.now()

    def work(tx: Tx) -> Issued:
        role = IDENTITIES.create_role(tx, account=ACCOUNT, name="turner", trust=TRUST, path="/team/", now=now)
        return place.sessions.issue(tx, role, "now", seconds=900, now=now)

    made = place.database.write(work)
    put(place, "read", READ, Sort.ROLE, "turner")
    return made


def enters(place: Place, issued: Issued, token: str | None) -> Caller:
    """Who a request of the session is let in as."""
    headers = HEADERS if token is None else [*HEADERS, (b"x-amz-security-token", token.encode())]
    request = PLAIN._replace(headers=headers)
    extra = sign(
        request,
        access_key_id=issued.access_key_id,
        secret=issued.secret,
        region="eu-west-1",
        service="secretsmanager",
        now=place.clock.now(),
    )
    return place.door.authenticate(request._replace(headers=[*headers, *extra]), client="203.0.113.7")


def test_a_session_does_what_its_role_may(place: Place, issued: Issued) -> None:
    """And is told apart by its ARN; what is known of the request is known."""
    found = enters(place, issued, issued.token.reveal())
    assert found.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/turner/now"
    authorize(found, GET, SECRET_ARN, {})
    with pytest.raises(AccessDenied):
        authorize(found, "secretsmanager:PutSecretValue", SECRET_ARN, {})
    assert found.facts["aws:principalarn"] == f"arn:aws:iam::{ACCOUNT}:role/team/turner"
    assert found.facts["aws:sourceip"] == "203.0.113.7"
    assert "aws:tokenissuetime" in found.facts


@pytest.mark.parametrize("token", [None, "", "another"])
def test_a_session_without_its_token_is_unknown(place: Place, issued: Issued, token: str | None) -> None:
    """However well it is signed."""
    with pytest.raises(UnrecognizedClient):
        enters(place, issued, token)


def test_a_session_ends(place: Place, issued: Issued) -> None:
    """To the second, and it is said that it has ended."""
    token = issued.token.reveal()
    place.clock.advance(timedelta(seconds=900) - BLINK)
    enters(place, issued, token)
    place.clock.advance(BLINK)
    with pytest.raises(ExpiredToken):
        enters(place, issued, token)


def test_a_session_ends_with_its_role(place: Place, issued: Issued) -> None:
    """A second later."""
    enters(place, issued, issued.token.reveal())
    place.database.write(lambda tx: IDENTITIES.delete(tx, ACCOUNT, Sort.ROLE, "turner"))
    place.clock.advance(timedelta(seconds=1))
    with pytest.raises(UnrecognizedClient):
        enters(place, issued, issued.token.reveal())


def test_a_policy_that_is_none_keeps_everybody_out_but_who_mends_it() -> None:
    """One of before policies were evaluated, whose values nobody had looked at."""
    condition = {"NumericLessThan": {"aws:x": "seven"}}
    text = document({"Effect": "Deny", "Principal": "*", "Action": GET, "Resource": "*", "Condition": condition})
    admin, reader = caller(Role.ADMINISTRATOR), caller(Role.READ_ONLY)
    with pytest.raises(AccessDenied, match="cannot be evaluated"):
        authorize_secret(admin, GET, SECRET_ARN, text, {})
    for action in ("secretsmanager:PutResourcePolicy", "secretsmanager:DeleteResourcePolicy"):
        authorize_secret(admin, action, SECRET_ARN, text, {})
        with pytest.raises(AccessDenied):
            authorize_secret(reader, action, SECRET_ARN, text, {})
