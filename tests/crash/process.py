"""A server process of the crash tests: start, wait for its address, wait for its death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0


class Process:
    """`python -m MODULE ARGS…` in a process group of its own."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def url(self) -> str:
        """The address that the server announced."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
                if '"server.started"' in line:
                    return str(json.loads(line)["url"])
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"the server did not start:\n{self._log.read_text(errors='replace')}")

    def died_within(self, seconds: float) -> bool:
        """Whether the whole server is gone."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def kill(self) -> None:
        """End it with everything it started, at once."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)


def client(url: str, data: Path) -> Any:
    """A boto3 client that sends each request once."""
    from keywheel.credentials import read_credentials

    access_key_id, secret = read_credentials(data / "credentials")
    return boto3.client(
        "secretsmanager",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret.reveal(),
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20),
    )
