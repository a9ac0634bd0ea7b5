"""`keywheel secrets`: create, read and list secrets, and tell their histories.

A value comes from a file, from standard input or from the server's random source, never from an argument: arguments
are seen by every process of the machine. It goes to the screen only with --reveal.
"""

from __future__ import annotations

import base64
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from keywheel.cli.client import Client, with_client
from keywheel.cli.output import as_json, iso, moment, note, print_json, printable, table
from keywheel.cli.tags import Tag
from keywheel.clock import SystemClock, to_epoch
from keywheel.errors import ConfigurationError, ResourceNotFound
from keywheel.sensitive import Sensitive

_CURRENT = "AWSCURRENT"


@click.group()
def secrets() -> None:
    """Create, read and list secrets, and tell their histories."""


@secrets.command()
@click.argument("name")
@click.option("--value-file", metavar="FILE", help="The value is this file's content, as it stands; - reads stdin.")
@click.option("--generate", is_flag=True, help="The value is a random password of 32 characters.")
@click.option("--description", metavar="TEXT", help="What the secret is for.")
@click.option("--kms-key-id", metavar="KEY", help="The key to protect it with.  [default: alias/aws/secretsmanager]")
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
    if (value_file is None) != generate:
        raise click.UsageError("Give the value by --value-file or by --generate.")
    value = _generated(client) if value_file is None else _value_of(value_file)
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
        click.echo(f"Created {printable(answer['Name'])}\n  ARN      {answer['ARN']}\n  Version  {answer['VersionId']}")


@secrets.command()
@click.argument("name")
@click.option("--version-id", metavar="ID", help="The version with this id.")
@click.option("--stage", metavar="LABEL", help=f"The version with this staging label.  [default: {_CURRENT}]")
@click.option("--reveal", is_flag=True, help="Print the value, and nothing else.")
@as_json
@with_client
def get(
    client: Client, name: str, version_id: str | None, stage: str | None, reveal: bool, as_json: bool
) -> None:
    """Show one version of the secret NAME (a name or an ARN), and with --reveal its value.

    Without --reveal the value is not even asked for.
    """
    if reveal:
        answer = client.call(
            "secretsmanager.GetSecretValue", SecretId=name, VersionId=version_id, VersionStage=stage
        )
        _reveal(answer, as_json=as_json)
        return
    described = client.call("secretsmanager.DescribeSecret", SecretId=name)
    version = _chosen(_versions(client, name), version_id, stage)
    shown = secret_document(described) | {"version": version_document(version)}
    if as_json:
        print_json(shown)
    else:
        _show(shown, described)


@secrets.command(name="list")
@click.option("--tag", "tags", type=Tag(), multiple=True, help="Only secrets that have this tag; may be repeated.")
@as_json
@with_client
def list_secrets(client: Client, tags: Sequence[tuple[str, str]], as_json: bool) -> None:
    """List the secrets of the account and Region."""
    now = to_epoch(SystemClock().now())
    found = [
        secret
        for secret in client.pages("secretsmanager.ListSecrets", "SecretList", SortBy="name", SortOrder="asc")
        if set(tags) <= {(tag["Key"], tag["Value"]) for tag in secret.get("Tags") or []}
    ]
    if as_json:
        print_json({"secrets": [secret_document(secret) for secret in found]})
        return
    rows = [
        (
            secret["Name"],
            "on" if secret.get("RotationEnabled") else "off",
            moment(secret.get("NextRotationDate"), now),
            moment(secret.get("LastChangedDate"), now),
            secret.get("Description") or "",
        )
        for secret in found
    ]
    if rows:
        table(("secret", "rotation", "next rotation", "last changed", "description"), rows)
        click.echo("")
    click.echo(f"{len(found)} {'secret' if len(found) == 1 else 'secrets'}.")


@secrets.command()
@click.argument("name")
@as_json
@with_client
def history(client: Client, name: str, as_json: bool) -> None:
    """Tell the history of the secret NAME (a name or an ARN): its versions, and its rotations' journal."""
    versions = _versions(client, name)
    events = client.call("keywheel.ListRotationEvents", SecretId=name).get("Events") or []
    if as_json:
        documents = [version_document(version) for version in versions]
        print_json({"versions": documents, "events": [event_document(event) for event in events]})
        return
    now = to_epoch(SystemClock().now())
    labelled = [(v["VersionId"], ", ".join(v.get("VersionStages") or []), v.get("CreatedDate")) for v in versions]
    table(("version", "labels", "created"), [(name, labels, moment(at, now)) for name, labels, at in labelled])
    click.echo("")
    if not events:
        click.echo("It has never been rotated.")
        return
    told = [
        (
            moment(event.get("At"), now),
            event["Event"],
            event.get("Step", ""),
            event.get("VersionId", ""),
            f"{event['Code']}: {event.get('Reason', '')}" if event.get("Code") else "",
        )
        for event in events
    ]
    table(("when", "event", "step", "version", "why"), told)
