"""The requests of each measurement, signed shortly before they are sent: a signature is good for five minutes.

They carry the headers that botocore sends. The secret has 117 bytes.
"""

from __future__ import annotations

import itertools
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from keywheel.access import sigv4
from keywheel.sensitive import Sensitive

REGION = "us-east-1"
DIFFERENT = 1000  # requests that are sent in turn, where they may be sent again
_AGENT = b"Boto3/1.44.0 md/Botocore#1.44.0 ua/2.1 os/linux#6.8 md/arch#x86_64 lang/python#3.11.7 md/pyimpl#CPython"
_fresh = itertools.count()


@dataclass(frozen=True, slots=True)
class Signer:
    """An access key."""

    access_key_id: str
    secret: Sensitive[str]

    def request(
        self, target: str, members: dict[str, Any], port: int, now: datetime, *, service: str = "secretsmanager"
    ) -> bytes:
        """A whole signed HTTP request."""
        body = json.dumps(members).encode()
        headers = [
            (b"host", b"127.0.0.1:%d" % port),
            (b"content-type", b"application/x-amz-json-1.1"),
            (b"x-amz-target", target.encode()),
        ]
        headers += sigv4.sign(
            sigv4.Request("POST", "/", "", headers, body),
            access_key_id=self.access_key_id,
            secret=self.secret,
            region=REGION,
            service=service,
            now=now,
        )
        headers += [
            (b"user-agent", _AGENT),
            (b"accept-encoding", b"identity"),
            (b"amz-sdk-invocation-id", b"6a1f9c1e-50ff-4f3b-9b7c-2f4f3a8b1d11"),
            (b"amz-sdk-request", b"attempt=1"),
            (b"content-length", b"%d" % len(body)),
        ]
        return b"POST / HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n" + body

    def requests(self, operation: str, all_members: list[dict[str, Any]], port: int) -> list[bytes]:
        """Requests of one operation of Secrets Manager, signed now."""
        now = datetime.now(UTC)
        return [self.request(f"secretsmanager.{operation}", members, port, now) for members in all_members]

    def key_requests(self, operation: str, all_members: list[dict[str, Any]], port: int) -> list[bytes]:
        """Requests of one operation of KMS, signed now."""
        now, target = datetime.now(UTC), f"TrentService.{operation}"
        return [self.request(target, members, port, now, service="kms") for members in all_members]


def name(number: int) -> str:
    """The name of a stored secret."""
    return f"bench/application-{number:06d}"


def value() -> str:
    """A secret of 117 bytes, as an RDS secret looks."""
    known = '{"engine":"postgres","host":"db.internal","port":5432,"username":"application","password":"'
    return known + uuid.uuid4().hex[: 117 - len(known) - 2] + '"}'


def creations(count: int, *, prefix: str | None = None) -> list[dict[str, Any]]:
    """New secrets: the stored ones, or with a prefix such as nobody has used."""
    begin = next(_fresh) if prefix else 0
    names = (f"{prefix}-{begin}/{n}" if prefix else name(n) for n in range(count))
    return [{"Name": each, "SecretString": value(), "ClientRequestToken": str(uuid.uuid4())} for each in names]


def gets(stored: int) -> list[dict[str, Any]]:
    """Reads, spread over the stored secrets."""
    step = max(1, stored // DIFFERENT)
    return [{"SecretId": name(n)} for n in range(0, stored, step)]


def puts(count: int, stored: int) -> list[dict[str, Any]]:
    """New versions, spread over the stored secrets. A token makes each of them a version of its own."""
    numbers = itertools.islice(itertools.cycle(range(stored)), count)
    return [{"SecretId": name(n), "SecretString": value(), "ClientRequestToken": str(uuid.uuid4())} for n in numbers]
