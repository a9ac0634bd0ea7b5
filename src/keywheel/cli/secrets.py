"""`keywheel secrets`: create, read and list secrets, and tell their histories. values.py has the way of a value."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import click

from keywheel.cli import documents
from keywheel.cli.client import Client, with_client
from keywheel.cli.output import NOTHING, as_json, count, exact, moment, print_json, printable, relative, table
from keywheel.cli.tags import Tag
from keywheel.cli.values import generated, print_value, revealed, value_of
from keywheel.clock import SystemClock, to_epoch
from keywheel.errors import ResourceNotFound

_CURRENT = "AWSCURRENT"
_KEY = "alias/aws/secretsmanager"


@click.group()
def secrets() -> None:
    """Create, read and list secrets, and tell their histories."""


@secrets.command()
@click.argument("name")
@click.option("--value-file", metavar="FILE", help="The value is this file's content, as it stands; - reads stdin.")
@click.option("--generate", is_flag=True, help="The value is a random password of 32 characters.")
@click.option("--description", metavar="TEXT", help="What the secret is for.")
@click.option("--kms-key-id", metavar="KEY", help=f"The key that protects it.  [default: {_KEY}]")
@click.option("--tag", "tags", type=Tag(), multiple=True, help="A tag of the secret; may be repeated.")
@as_json
@with_client
def create(
    client: Client,
    name: str,
    value_file: str | None,
    generate: bool,
    description: str | None,
    kms_key_id: str | None,
    tags: Sequence[tuple[str, str]],
    as_json: bool,
) -> None:
    """Create the secret NAME.

    Text becomes a SecretString, bytes that are not UTF-8 a SecretBinary. On a terminal, `--value-file -` asks for the
    value without showing it.
    """
    if (value_file is not None) == generate:
        raise click.UsageError("Give the value by --value-file or by --generate.")
    value = generated(client) if value_file is None else value_of(value_file)
    answer = client.call(
        "secretsmanager.CreateSecret",
        Name=name,
        ClientRequestToken=str(uuid.uuid4()),
        Description=description,
        KmsKeyId=kms_key_id,
        Tags=[{"Key": key, "Value": text} for key, text in tags] or None,
        **value,
    )
    if as_json:
        print_json({"name": answer["Name"], "arn": answer["ARN"], "version_id": answer["VersionId"]})
    else:
        click.echo(f"Created {answer['Name']}, version {answer['VersionId']}.")


@secrets.command()
@click.argument("name")
@click.option("--version-id", metavar="ID", help="The version with this id.")
@click.option("--stage", metavar="LABEL", help=f"The version with this staging label.  [default: {_CURRENT}]")
@click.option("--reveal", is_flag=True, help="Print the value.")
@as_json
@with_client
def get(client: Client, name: str, version_id: str | None, stage: str | None, reveal: bool, as_json: bool) -> None:
    """Show one version of the secret NAME (a name or an ARN); with --reveal its value and nothing else.

    Without --reveal the value is not even asked for.
    """
    if reveal:
        answer = client.call("secretsmanager.GetSecretValue", SecretId=name, VersionId=version_id, VersionStage=stage)
        if as_json:
            known = {"name": answer["Name"], "arn": answer["ARN"], "version": documents.version(answer)}
            print_json(known | revealed(answer))
        else:
            print_value(answer)
        return
    secret = client.call("secretsmanager.DescribeSecret", SecretId=name)
    version = _chosen(_versions(client, name), version_id, stage)
    if as_json:
        print_json(documents.secret(secret) | {"version": documents.version(version)})
    else:
        _show(secret, version)


@secrets.command(name="list")
@click.option("--tag", "tags", type=Tag(), multiple=True, help="Only secrets that have this tag; may be repeated.")
@as_json
@with_client
def list_secrets(client: Client, tags: Sequence[tuple[str, str]], as_json: bool) -> None:
    """List the secrets of the account and Region."""
    found = [
        secret
        for secret in client.pages("secretsmanager.ListSecrets", "SecretList", SortBy="name", SortOrder="asc")
        if set(tags) <= {(tag["Key"], tag["Value"]) for tag in secret.get("Tags") or []}
    ]
    if as_json:
        print_json({"secrets": [documents.secret(secret) for secret in found]})
        return
    now = to_epoch(SystemClock().now())
    if found:
        columns = ("secret", "next rotation (UTC)", "changed", "tags", "description")
        table(columns, [_row(secret, now) for secret in found])
        click.echo("")
    click.echo(f"{count(len(found), 'secret')}.")


@secrets.command()
@click.argument("name")
@as_json
@with_client
def history(client: Client, name: str, as_json: bool) -> None:
    """Tell the history of the secret NAME (a name or an ARN): its versions, and its rotations' journal."""
    versions = _versions(client, name)
    events = client.call("keywheel.ListRotationEvents", SecretId=name).get("Events") or []
    if as_json:
        told = [documents.event(event) for event in events]
        print_json({"versions": [documents.version(version) for version in versions], "events": told})
        return
    now = to_epoch(SystemClock().now())
    if versions:
        rows = [(one["VersionId"], _labels(one), moment(one.get("CreatedDate"), now, zone="")) for one in versions]
        table(("version", "labels", "created (UTC)"), rows)
        click.echo("")
    if events:
        table(("when", "event", "step", "version", "why"), [_told(event) for event in events])
    else:
        click.echo("No rotation yet.")


def _versions(client: Client, name: str) -> list[dict[str, Any]]:
    """Every version that has a value, the newest first."""
    found = client.pages("secretsmanager.ListSecretVersionIds", "Versions", SecretId=name, IncludeDeprecated=True)
    return sorted(found, key=lambda version: float(version.get("CreatedDate", 0.0)), reverse=True)


def _chosen(versions: Sequence[dict[str, Any]], version_id: str | None, stage: str | None) -> dict[str, Any]:
    """The version that is named, as GetSecretValue would choose it.

    Raises:
        ResourceNotFound: there is none.
    """
    label = stage if version_id or stage else _CURRENT
    for version in versions:
        labelled = label is None or label in (version.get("VersionStages") or [])
        if labelled and version_id in (None, version["VersionId"]):
            return version
    wanted = version_id or f"labelled {label}"
    raise ResourceNotFound(
        f"The secret has no version {wanted} with a value.", hint="`keywheel secrets history NAME` shows its versions."
    )


def _show(secret: Mapping[str, Any], version: Mapping[str, Any]) -> None:
    now = to_epoch(SystemClock().now())
    rows = {
        "Name": secret["Name"],
        "ARN": secret["ARN"],
        "Description": secret.get("Description"),
        "Tags": _tags(secret),
        "Key": secret.get("KmsKeyId") or _KEY,
        "Next rotation": moment(secret.get("NextRotationDate"), now) if secret.get("RotationEnabled") else "off",
        "Last rotated": moment(secret.get("LastRotatedDate"), now),
        "Deleted": moment(secret["DeletedDate"], now) if "DeletedDate" in secret else None,
        "Version": version["VersionId"],
        "Labels": _labels(version),
        "Created": moment(version.get("CreatedDate"), now),
        "Value": "hidden; --reveal prints it",
    }
    for label, text in rows.items():
        if text:
            click.echo(f"{label:<14} {printable(text)}")


def _row(secret: Mapping[str, Any], now: float) -> tuple[str, ...]:
    return (
        secret["Name"],
        moment(secret.get("NextRotationDate"), now, zone="") if secret.get("RotationEnabled") else "off",
        relative(secret.get("LastChangedDate", now), now),
        _tags(secret),
        secret.get("Description") or NOTHING,
    )


def _told(event: Mapping[str, Any]) -> tuple[str, ...]:
    why = f"{event['Code']}: {event.get('Reason', '')}" if event.get("Code") else ""
    return exact(event["At"]), event["Event"], event.get("Step", ""), event.get("VersionId", ""), why


def _tags(secret: Mapping[str, Any]) -> str:
    return ", ".join(f"{tag['Key']}={tag['Value']}" for tag in secret.get("Tags") or [])


def _labels(version: Mapping[str, Any]) -> str:
    return ", ".join(sorted(version.get("VersionStages") or []))
