"""The same rotators as an AWS Lambda function, by the Lambda contract of Secrets Manager: event in, `run_step` out.

Configure the function with the handler `keywheel.aws_lambda.handler` and the environment variable `KEYWHEEL_ROTATOR`,
such as `keywheel-postgres-alternating-users`. `SECRETS_MANAGER_ENDPOINT` names another endpoint than AWS's, and the
variables of AWS's templates for passwords (`PASSWORD_LENGTH`, `EXCLUDE_CHARACTERS`, `EXCLUDE_NUMBERS`, …) are honoured.

The execution role needs, on the secret: DescribeSecret, GetSecretValue, PutSecretValue, UpdateSecretVersionStage; on
the superuser's secret: DescribeSecret, GetSecretValue; on `*`: GetRandomPassword.

Not tested live on AWS: tested against keywheel's own server and its local Lambda endpoint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import boto3

from keywheel.errors import SecretMalformed
from keywheel.rotation.built_in import built_in
from keywheel.rotation.machine import WIRE_STEPS
from keywheel.rotation.steps import CURRENT, PENDING, run_step
from keywheel.rotator import Credential
from keywheel.sensitive import Sensitive

_STEPS = {wire: step for step, wire in WIRE_STEPS.items()}
_TRUE = ("true", "1", "y", "yes")
_FLAGS = {
    "EXCLUDE_NUMBERS": "ExcludeNumbers",
    "EXCLUDE_PUNCTUATION": "ExcludePunctuation",
    "EXCLUDE_UPPERCASE": "ExcludeUppercase",
    "EXCLUDE_LOWERCASE": "ExcludeLowercase",
    "REQUIRE_EACH_INCLUDED_TYPE": "RequireEachIncludedType",
}


def handler(event: Mapping[str, str], context: object) -> None:  # noqa: ARG001 - Lambda passes both
    """Run the step that `event` names.

    Raises:
        ValueError: the event does not fit the secret or this function; AWS tries again, then reports the rotation
            as failed.
        TargetError: the step did not succeed.
    """
    client = boto3.client("secretsmanager", endpoint_url=os.environ.get("SECRETS_MANAGER_ENDPOINT"))
    strategy = built_in().get(os.environ.get("KEYWHEEL_ROTATOR", ""))
    if strategy is None:
        raise ValueError(f"KEYWHEEL_ROTATOR must be one of: {', '.join(sorted(built_in()))}")
    step = _STEPS.get(event["Step"])
    if step is None:
        raise ValueError(f"Invalid step parameter {event['Step']} for secret {event['SecretId']}")
    if client.describe_secret(SecretId=event["SecretId"]).get("RotationEnabled") is False:
        raise ValueError(f"Secret {event['SecretId']} is not enabled for rotation")
    store = AwsStore(client, event.get("RotationToken"), os.environ)
    run_step(strategy, store, event["SecretId"], event["ClientRequestToken"], step)


class AwsStore:
    """A `SecretStore` over the Secrets Manager API."""

    def __init__(self, client: Any, rotation_token: str | None, environment: Mapping[str, str]) -> None:
        self._client = client
        self._rotation_token = rotation_token
        self._environment = environment

    def labels(self, secret_id: str) -> Mapping[str, str]:
        """Which version each label is attached to."""
        try:
            versions = self._client.describe_secret(SecretId=secret_id).get("VersionIdsToStages", {})
        except self._client.exceptions.ResourceNotFoundException:
            raise SecretMalformed(f"There is no secret {secret_id}.") from None
        return {label: version for version, labels in versions.items() for label in labels}

    def get(self, secret_id: str, version: str) -> Credential | None:
        """The credential of a version."""
        try:
            answer = self._client.get_secret_value(SecretId=secret_id, VersionId=version)
        except self._client.exceptions.ResourceNotFoundException:
            return None
        if "SecretString" not in answer:
            raise SecretMalformed("The secret value is binary, not a JSON object.")
        return Credential.parse(Sensitive(answer["SecretString"]))

    def put(self, secret_id: str, version: str, value: Credential) -> None:
        """Write the pending value down."""
        optional = {} if self._rotation_token is None else {"RotationToken": self._rotation_token}
        self._client.put_secret_value(
            SecretId=secret_id,
            ClientRequestToken=version,
            SecretString=value.to_json().reveal(),
            VersionStages=[PENDING],
            **optional,
        )

    def promote(self, secret_id: str, version: str) -> None:
        """Make `version` AWSCURRENT."""
        current = self.labels(secret_id).get(CURRENT)
        if current == version:
            return
        optional = {} if current is None else {"RemoveFromVersionId": current}
        self._client.update_secret_version_stage(
            SecretId=secret_id, VersionStage=CURRENT, MoveToVersionId=version, **optional
        )

    def new_password(self, *, length: int, exclude_characters: str) -> Sensitive[str]:
        """A random password by the target's rules, or by the environment's."""
        rules: dict[str, Any] = {
            member: self._environment[name].lower() in _TRUE
            for name, member in _FLAGS.items()
            if name in self._environment
        }
        rules["PasswordLength"] = int(self._environment.get("PASSWORD_LENGTH", length))
        rules["ExcludeCharacters"] = self._environment.get("EXCLUDE_CHARACTERS", exclude_characters)
        return Sensitive(self._client.get_random_password(**rules)["RandomPassword"])
