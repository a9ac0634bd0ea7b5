"""The door: who is let in, for how long that is remembered, and who may do what."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from keywheel.access import door
from keywheel.access.access_keys import AccessKeys, Role
from keywheel.access.door import Caller, Door, authorize
from keywheel.access.sigv4 import Request, presign, sign
from keywheel.api.operations import TABLE
from keywheel.arn import Scope
from keywheel.db.database import Database
from keywheel.errors import AccessDenied, InvalidSignature, MissingAuthenticationToken, UnrecognizedClient
from keywheel.keys.keyring import Keys
from keywheel.sensitive import Sensitive
from keywheel.testing import ManualClock

ACCOUNT, ID, SECRET = "1" * 12, "AKIAIOSFODNN7EXAMPLE", Sensitive("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
ARN = f"arn:aws:iam::{ACCOUNT}:user/app"
HEADERS = [(b"host", b"localhost"), (b"x-amz-target", b"secretsmanager.GetSecretValue")]
PLAIN = Request("POST", b"/", b"", HEADERS, b'{"SecretId":"a"}')
BLINK = timedelta(microseconds=1)


class Place:
    """A door, with one access key that it knows."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database, self.clock = database, clock
        self.access_keys = AccessKeys(Keys(Sensitive(os.urandom(32))))
        self.door = Door(database, self.access_keys, clock)
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


@pytest.mark.parametrize("service", ["kms", "s3", "SecretsManager"])
def test_a_signature_for_another_service_is_refused(place: Place, service: str) -> None:
    """It may have been caught elsewhere."""
    with pytest.raises(InvalidSignature):
        place.comes(place.signed(service=service))


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
    "keywheel:DescribeClock",
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


@pytest.mark.parametrize("action", ["", "GetSecretValue", "secretsmanager:", "secretsmanager:PutGet", "x:get"])
def test_what_is_no_action_of_a_reader_is_refused(action: str) -> None:
    """Only the beginning of the name after the service counts, and its letters as they are."""
    with pytest.raises(AccessDenied):
        authorize(caller(Role.READ_ONLY), action, "*", {})
