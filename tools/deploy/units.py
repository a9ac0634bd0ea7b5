"""systemd/: every unit is closed, its command is understood, and systemd itself has read it where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.deploy.reading import STOP_SECONDS, misused, option

PROGRAM = "/opt/keywheel/bin/keywheel"
_STATE = "/var/lib"
_SECTIONS = {"Unit", "Service", "Install"}
_CLOSED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectControlGroups": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RestrictSUIDSGID": "yes",
    "UMask": "0077",
    "StateDirectoryMode": "0700",
}
_CREDENTIAL = re.compile(r"%d/(\S+)")
_USER = re.compile(r"^u (\S+) ", re.MULTILINE)

Entries = dict[str, list[str]]


def check(folder: Path) -> Iterator[str]:
    """A line for each breach."""
    users = {user for path in folder.glob("*.sysusers.conf") for user in _USER.findall(path.read_text("utf-8"))}
    directories: dict[str, str] = {}
    units = sorted(folder.glob("*.service"))
    for path in units:
        try:
            entries = read(path)
        except ValueError as error:
            yield f"{path.name}: {error}"
            continue
        yield from (f"{path.name}: {breach}" for breach in _unit(entries, users))
        state = entries.get("StateDirectory", [""])[-1]
        if " serve " in entries.get("ExecStart", [""])[-1]:
            if state in directories:
                yield f"{path.name}: shares its data directory with {directories[state]}"
            directories[state] = path.name
    yield from _verified(units)


def read(path: Path) -> Entries:
    """The entries of a unit, each with its values in their order.

    Raises:
        ValueError: a line is none of a unit's.
    """
    entries: Entries = {}
    section = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith(("#", ";")):
            continue
        if text.startswith("["):
            section = text.strip("[]")
            if section not in _SECTIONS:
                raise ValueError(f"line {number}: there is no section {text}")
            continue
        key, equals, value = text.partition("=")
        if not equals or not key.isalnum() or not section:
            raise ValueError(f"line {number} is no entry")
        entries.setdefault(key, []).append(value)
    return entries


def _unit(entries: Entries, users: set[str]) -> Iterator[str]:
    for key, value in _CLOSED.items():
        if entries.get(key, [None])[-1] != value:
            yield f"{key}={value} is missing"
    if entries.get("User", [""])[-1] not in users:
        yield "its user is not in the sysusers file"
    if "Environment" in entries:
        yield "settings belong into its command or into keywheel.toml"
    if entries.get("ProcSubset", ["all"])[-1] == "pid":
        yield "the engine cannot know the machine's present start (ProcSubset=pid)"
    (line,) = entries.get("ExecStart", [""])
    words = line.split()
    if words[:1] != [PROGRAM]:
        yield f"ExecStart does not run {PROGRAM}"
        return
    if (reason := misused(words[1:])) is not None:
        yield reason
    if option(words, "--data") != f"{_STATE}/{entries.get('StateDirectory', [''])[-1]}":
        yield "--data is not its StateDirectory"
    loaded = {value.partition(":")[0] for value in entries.get("LoadCredential", [])}
    for name in sorted(set(_CREDENTIAL.findall(line)) ^ loaded):
        yield f"the credential {name} is loaded or used, and not both"
    if words[1] == "serve" and int(entries.get("TimeoutStopSec", ["0"])[-1]) <= STOP_SECONDS:
        yield f"is killed while its children may still end ({STOP_SECONDS} s)"


def _verified(units: list[Path]) -> Iterator[str]:
    """What `systemd-analyze verify` says of copies whose program is one that is there."""
    program = shutil.which("systemd-analyze")
    if program is None or not units:
        return
    with tempfile.TemporaryDirectory() as directory:
        copies = []
        for path in units:
            copy = Path(directory) / path.name
            copy.write_text(path.read_text(encoding="utf-8").replace(PROGRAM, sys.executable), encoding="utf-8")
            copies.append(str(copy))
        command = [program, "verify", "--man=no", "--recursive-errors=no", *copies]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    # It also complains of the machine's own units, which are none of ours.
    yield from (line.replace(f"{directory}/", "") for line in done.stderr.splitlines() if directory in line)
