"""A rotation function as somebody writes one for AWS Lambda: it rotates a PostgreSQL role, and knows only boto3."""

import json
import logging
import os

import boto3
import psycopg
from psycopg import sql

logger = logging.getLogger()
logger.setLevel(logging.INFO)
client = boto3.client("secretsmanager")  # made once, as AWS advises; the Region and the address are the environment's


def lambda_handler(event, context):
    """Run one step."""
    arn, token, step = event["SecretId"], event["ClientRequestToken"], event["Step"]
    logger.info("%s with %d ms left", step, context.get_remaining_time_in_millis())
    versions = client.describe_secret(SecretId=arn)["VersionIdsToStages"]
    if "AWSCURRENT" in versions[token]:
        return
    if "AWSPENDING" not in versions[token]:
        raise ValueError(f"Secret version {token} not set as AWSPENDING for rotation of secret {arn}.")
    STEPS[step](arn, token)


def create(arn, token):
    """Draw a password, unless there is one."""
    try:
        client.get_secret_value(SecretId=arn, VersionId=token, VersionStage="AWSPENDING")
    except client.exceptions.ResourceNotFoundException:
        value = read(arn, VersionStage="AWSCURRENT")
        value["password"] = client.get_random_password(ExcludePunctuation=True)["RandomPassword"]
        client.put_secret_value(
            SecretId=arn, ClientRequestToken=token, SecretString=json.dumps(value), VersionStages=["AWSPENDING"]
        )


def set_password(arn, token):
    """Tell the database."""
    pending = read(arn, VersionId=token)
    try:
        login(pending).close()
        return
    except psycopg.OperationalError:
        pass
    by = read(pending["masterarn"]) if "masterarn" in pending else read(arn, VersionStage="AWSCURRENT")
    with login(by) as connection:
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(pending["username"]), sql.Literal(pending["password"])))


def test(arn, token):
    """Log in."""
    login(read(arn, VersionId=token)).close()


def finish(arn, token):
    """Move the label."""
    versions = client.describe_secret(SecretId=arn)["VersionIdsToStages"]
    current = next(version for version, stages in versions.items() if "AWSCURRENT" in stages)
    client.update_secret_version_stage(
        SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=token, RemoveFromVersionId=current
    )


def read(arn, **which):
    """A value."""
    return json.loads(client.get_secret_value(SecretId=arn, **which)["SecretString"])


def login(value):
    """A session."""
    return psycopg.connect(
        host=value["host"],
        port=value["port"],
        user=value["username"],
        password=value["password"],
        dbname=value.get("dbname", "postgres"),
        sslmode=os.environ.get("SSL_MODE", "prefer"),
        connect_timeout=5,
        autocommit=True,
    )


STEPS = {"createSecret": create, "setSecret": set_password, "testSecret": test, "finishSecret": finish}
