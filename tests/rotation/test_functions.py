"""Rotation functions by the Lambda contract, behind a real local host that speaks Invoke."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator

import boto3
import pytest
import uvicorn

from keywheel.access.access_keys import Role, new_access_key
from keywheel.api.connections import Connection
from keywheel.aws_lambda import handler
from keywheel.clock import SystemClock
from keywheel.errors import AccessDenied
from keywheel.functions.invoke import LambdaEndpoint
from keywheel.rotation.machine import FUNCTION_ATTEMPTS, Step
from keywheel.rotation.runners import Runners
from keywheel.rotator import Credential
from keywheel.secrets.labels import CURRENT, PENDING, PREVIOUS
from keywheel.strategies import SingleUser
from keywheel.testing import ManualClock, closed_port
from tests.support.account import SCOPE, SINGLE_USER, Account, function_arn
from tests.support.lambda_host import Event, LambdaHost
from tests.support.memory_target import MemoryTarget
from tests.support.servers import PostgresServer

NAME = "my-rotation"
ARN = function_arn(NAME)
STEPS = ["createSecret", "setSecret", "testSecret", "finishSecret"]
CANNOT_INVOKE = (
    "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to "
    "the principal secretsmanager.amazonaws.com."
)


class Function:
    """A rotation function as AWS's templates are written, against the account; `fails_at` makes a step fail."""

    def __init__(self) -> None:
        self.account: Account | None = None
        self.fails_at: str | None = None
        self.keeps_pending = True
        self.moves_labels = True

    def __call__(self, event: Event) -> None:
        assert self.account is not None
        account, name, version = self.account, event["SecretId"], event["ClientRequestToken"]
        if event["Step"] == self.fails_at:
            raise RuntimeError("a stack trace with the-password-of-the-function in it")
        labels = account.labels(name)
        if labels[CURRENT] == version:
            return
        if event["Step"] == "createSecret" and version not in account.versions(name):
            account.put(name, f"value of {version}", PENDING, version=version)
        if event["Step"] == "finishSecret" and self.moves_labels:
            account.move(name, CURRENT, to=version, away_from=labels[CURRENT])
            if not self.keeps_pending:
                account.move(name, PENDING, away_from=version)


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def host(function: Function) -> Iterator[LambdaHost]:
    with LambdaHost({ARN: function}) as host:
        yield host


@pytest.fixture
def runners(host: LambdaHost, target: MemoryTarget, clock: ManualClock) -> Runners:
    """The way to the functions, beside one built-in rotator."""
    return Runners(LambdaEndpoint(host.url, None, clock), {SINGLE_USER: SingleUser(target)})


@pytest.fixture(autouse=True)
def _account_of_the_function(account: Account, function: Function) -> None:
    function.account = account


def rotate_to_failure(account: Account) -> None:
    account.rotated("app", NAME)
    while not account.rotation("app").failed:
        account.sleep("app")


# --- the four steps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps_pending", [True, False])
def test_a_function_is_invoked_for_each_step_in_order(
    account: Account, host: LambdaHost, function: Function, keeps_pending: bool
) -> None:
    """Its version becomes current; a leftover AWSPENDING is removed, as AWS does; one that is gone is not missed."""
    function.keeps_pending = keeps_pending
    old = account.labels("app")[CURRENT]
    version = account.rotated("app", NAME)
    assert host.steps == STEPS
    assert account.labels("app") == {CURRENT: version, PREVIOUS: old}
    assert account.text("app") == f"value of {version}"
    assert account.events("app") == ["RotationStarted", "RotationSucceeded"]
    assert account.rotation("app").step is Step.IDLE


def test_an_event_has_the_members_that_aws_sends(account: Account, host: LambdaHost) -> None:
    """The secret by its full ARN, the version by its token, and a rotation token that is new each time."""
    version = account.rotated("app", NAME)
    arn = account.describe("app").arn
    for event in host.events:
        assert event.keys() == {"Step", "SecretId", "ClientRequestToken", "RotationToken"}
        assert (event["SecretId"], event["ClientRequestToken"]) == (arn, version)
        assert re.fullmatch(r"[a-zA-Z0-9-]{36,256}", event["RotationToken"])
    assert len({event["RotationToken"] for event in host.events}) == len(STEPS)


def test_the_next_rotation_is_as_good_as_the_first(account: Account, host: LambdaHost) -> None:
    """Nothing is left of one that would stand in the way of another."""
    account.rotated("app", NAME)
    version = account.rotated("app")
    assert account.labels("app")[CURRENT] == version
    assert host.steps == STEPS * 2


def test_a_test_of_the_configuration_invokes_only_the_test(account: Account, host: LambdaHost) -> None:
    """With RotateImmediately=false."""
    version = account.rotated("app", NAME, immediately=False)
    assert [(event["Step"], event["ClientRequestToken"]) for event in host.events] == [("testSecret", version)]
    assert version not in account.versions("app")
    assert account.events("app") == ["TestRotationStarted", "TestRotationSucceeded"]


def test_a_function_that_puts_its_value_under_the_current_label_is_not_a_person(
    account: Account, host: LambdaHost, function: Function
) -> None:
    """It fills its own version and makes it current in one call: that does not abandon its rotation."""

    def at_once(event: Event) -> None:
        if event["Step"] == "createSecret":
            account.put("app", "at once", CURRENT, version=event["ClientRequestToken"])

    host.functions[ARN] = at_once
    version = account.rotated("app", NAME)
    assert account.labels("app")[CURRENT] == version
    assert account.events("app") == ["RotationStarted", "RotationSucceeded"]


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_a_function_that_fails_is_run_again_a_bounded_number_of_times(
    account: Account, host: LambdaHost, function: Function, step: str
) -> None:
    """Each time from createSecret and with the same version; then the rotation is failed, with AWS's text."""
    function.fails_at = step
    rotate_to_failure(account)
    assert host.steps == STEPS[: STEPS.index(step) + 1] * FUNCTION_ATTEMPTS
    assert len({event["ClientRequestToken"] for event in host.events}) == 1
    note = account.journal("app")[-1]
    assert (note.event, note.code) == ("RotationFailed", "FunctionFailed")
    assert (note.reason or "").startswith(f"Error when executing lambda {ARN} during {step} step")
    assert account.labels("app").keys() == {CURRENT, PENDING}


def test_a_function_that_recovers_finishes_its_rotation(account: Account, host: LambdaHost, function: Function) -> None:
    """The failed rotation is attempted again with the same version."""
    function.fails_at = "setSecret"
    rotate_to_failure(account)
    version = account.labels("app")[PENDING]
    function.fails_at = None
    account.sleep("app")
    assert account.labels("app")[CURRENT] == version
    assert account.text("app") == f"value of {version}"


def test_what_a_function_says_of_its_error_is_not_kept(
    account: Account, function: Function, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its text may hold anything, a password too."""
    function.fails_at = "testSecret"
    rotate_to_failure(account)
    told = f"{account.journal('app')!r} {account.rotation('app')!r} {capsys.readouterr()!r}"
    assert "the-password-of-the-function" not in told


def test_a_finish_that_moves_no_label_is_a_failure(account: Account, function: Function) -> None:
    """The function said yes, and AWSCURRENT is still the old one."""
    function.moves_labels = False
    old = account.labels("app")[CURRENT]
    rotate_to_failure(account)
    note = account.journal("app")[-1]
    assert (note.event, note.step) == ("RotationFailed", "finish")
    assert "without moving AWSCURRENT" in (note.reason or "")
    assert account.labels("app")[CURRENT] == old
    assert account.describe("app").last_rotated_date is None


def test_a_finish_that_would_lose_the_secret_is_a_failure(account: Account, host: LambdaHost) -> None:
    """A function that never put a value cannot make its empty version current."""

    def empty(event: Event) -> None:
        if event["Step"] == "finishSecret":
            current = account.labels("app")[CURRENT]
            account.move("app", CURRENT, to=event["ClientRequestToken"], away_from=current)

    host.functions[ARN] = empty
    before = account.text("app")
    rotate_to_failure(account)
    assert account.text("app") == before


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_endpoint_is_asked_again(account: Account, host: LambdaHost, status: int) -> None:
    """That is no failure of the function, however often it happens."""
    host.busy = [status] * (FUNCTION_ATTEMPTS + 2)
    version = account.rotated("app", NAME)
    while account.rotation("app").in_progress:
        account.sleep("app")
    assert account.labels("app")[CURRENT] == version
    assert host.steps == STEPS


def test_an_endpoint_that_is_away_is_asked_again(
    account: Account, host: LambdaHost, runners: Runners, clock: ManualClock
) -> None:
    """Nothing is known, so nothing is given up before the window is over."""
    version = account.rotate("app", NAME)
    there, runners.endpoint = runners.endpoint, LambdaEndpoint(f"http://127.0.0.1:{closed_port()}", None, clock)
    account.engine.tick()
    note = account.journal("app")[-1]
    assert (note.event, note.code) == ("StepRetried", "TargetUnavailable")
    runners.endpoint.close()
    runners.endpoint = there
    account.sleep("app")
    assert account.labels("app")[CURRENT] == version


def test_an_answer_that_is_lost_is_no_answer(account: Account, host: LambdaHost) -> None:
    """The step is run again by the engine, never by the transport."""
    host.lost_answers = 1
    version = account.rotated("app", NAME)
    assert host.steps == ["createSecret"]
    account.sleep("app")
    assert host.steps == ["createSecret", *STEPS]
    assert account.labels("app")[CURRENT] == version


def test_a_function_that_is_gone_fails_the_rotation(account: Account, host: LambdaHost) -> None:
    """It was there when rotation was configured; a bounded number of attempts later it is told."""
    account.rotated("app", NAME, days=1)
    del host.functions[ARN]
    account.pass_time(days=2)
    note = next(note for note in account.journal("app") if note.event == "RotationFailed")
    assert (note.code, note.attempt) == ("FunctionFailed", FUNCTION_ATTEMPTS - 1)


def test_a_slow_function_is_waited_for(account: Account, host: LambdaHost) -> None:
    """Its answer counts, whenever it comes."""
    host.seconds = 0.1
    version = account.rotated("app", NAME)
    assert account.labels("app")[CURRENT] == version
    assert host.steps == STEPS


def test_a_value_put_by_hand_fences_a_function_that_is_under_way(account: Account, host: LambdaHost) -> None:
    """What it does afterwards changes nothing."""

    def overtaken(event: Event) -> None:
        account.put("app", "by hand")

    host.functions[ARN] = overtaken
    account.rotated("app", NAME)
    assert account.text("app") == "by hand"
    assert account.events("app") == ["RotationStarted", "RotationAbandoned"]


# --- which functions -----------------------------------------------------------------------------------------------


def test_a_function_is_asked_for_by_a_dry_run(account: Account, host: LambdaHost) -> None:
    """RotateSecret makes sure that it can be invoked, and runs nothing."""
    account.rotate("app", NAME)
    assert (host.kinds, host.events) == (["DryRun"], [])


@pytest.mark.parametrize(
    "arn",
    [
        function_arn("unknown"),
        ARN.replace("us-east-1", "eu-west-1"),
        ARN.replace("123456789012", "210987654321"),
        function_arn(SINGLE_USER).replace("us-east-1", "eu-west-1"),
        "arn:aws:s3:us-east-1:123456789012:function:my-rotation",
        "no:arn",
    ],
)
def test_a_function_that_cannot_be_invoked_is_refused(account: Account, arn: str) -> None:
    """With AWS's text, and nothing is configured."""
    with pytest.raises(AccessDenied) as raised:
        account.rotate("app", arn)
    assert raised.value.message == CANNOT_INVOKE
    described = account.describe("app")
    assert (described.rotation_enabled, described.rotation_lambda_arn) == (None, None)
    assert PENDING not in account.labels("app")


def test_a_function_with_a_qualifier_is_invoked_as_it_is_named(account: Account, host: LambdaHost) -> None:
    """The ARN goes to the endpoint whole."""
    host.functions[f"{ARN}:live"] = host.functions[ARN]
    version = account.rotated("app", f"{ARN}:live")
    assert account.labels("app")[CURRENT] == version


def test_a_built_in_rotator_needs_no_endpoint(account: Account, host: LambdaHost, target: MemoryTarget) -> None:
    """Its name in the secret's own account and Region is enough."""
    account.rotated("app", SINGLE_USER)
    assert (host.kinds, target.accepts(account.credential("app"))) == ([], True)


# --- keywheel's own function ---------------------------------------------------------------------------------------


@pytest.fixture
def serve(account: Account) -> Iterator[str]:
    """The API of the account's house over HTTP; its address."""
    app = account.house.app()
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=Connection, interface="asgi3", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    app.close()


@pytest.mark.parametrize("rotator", ["keywheel-postgres-single-user", "keywheel-postgres-alternating-users"])
def test_the_same_rotator_runs_as_a_rotation_function(
    account: Account,
    host: LambdaHost,
    serve: str,
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    rotator: str,
) -> None:
    """`keywheel.aws_lambda.handler`, with boto3 against the API: twice, so both users of a pair have their turn."""
    account.clock.set(SystemClock().now())  # boto3 signs with the machine's time
    access_key_id, secret = new_access_key()
    keys = account.house.access_keys
    account.rooms.database.write(
        lambda tx: keys.create(
            tx,
            account=SCOPE.account,
            name="function",
            role=Role.ADMINISTRATOR,
            now=account.clock.now(),
            access_key_id=access_key_id,
            secret=secret,
        )
    )
    for name, value in {
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret.reveal(),
        "AWS_DEFAULT_REGION": SCOPE.region,
        "SECRETS_MANAGER_ENDPOINT": serve,
        "KEYWHEEL_ROTATOR": rotator,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the credentials of the test before
    host.functions[ARN] = lambda event: handler(event, None)
    master = account.create("live-master", postgres.superuser)
    user = postgres.new_user()
    account.create("live", Credential({**user.fields, "masterarn": master}, user.password))
    for _ in range(2):
        version = account.rotated("live", NAME)
        assert account.labels("live")[CURRENT] == version
        credential = account.credential("live")
        postgres.connect(credential.username, credential.password.reveal()).close()
    assert host.steps == STEPS * 2
