"""nginx.conf: it passes on what is signed, sends no call twice, writes no value down, and nginx itself has read it."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keywheel.config import Settings

_COMMENT = re.compile(r"#.*")
_SERVER = re.compile(r"^\s*server\s+(\S+:\d+)\b[^;{]*;", re.MULTILINE)
_SECRET = re.compile(r"/run/secrets/[^\s;]+")
_NEEDED = {
    "error_log stderr crit": "an error log would hold the signatures of presigned addresses",
    "access_log off": "an access log would hold the signatures of presigned addresses",
    "proxy_set_header Host $http_host": "the signed Host header is changed",
    "proxy_max_temp_file_size 0": "values would be written to files",
    "proxy_pass http://keywheel": "the signed path is changed",
    f"client_body_buffer_size {Settings().body_limit >> 20}m": "values would be written to files",
    f"client_max_body_size {Settings().body_limit >> 20}m": "bodies of another size than the server's are taken",
}


@dataclass(frozen=True, slots=True)
class Spoken:
    """The names in the file that others must know."""

    upstreams: set[str]
    secrets: set[str]


def read(file: Path) -> Spoken:
    """What the file speaks of."""
    text = _COMMENT.sub("", file.read_text(encoding="utf-8"))
    return Spoken(set(_SERVER.findall(text)), set(_SECRET.findall(text)))


def check(file: Path) -> Iterator[str]:
    """A line for each breach."""
    text = _COMMENT.sub("", file.read_text(encoding="utf-8"))
    if text.count("{") != text.count("}"):
        yield "its braces do not match"
    said = {" ".join(entry.split()) for entry in re.split(r"[;{}]", text)}
    yield from (f"`{entry}` is missing: {why}" for entry, why in _NEEDED.items() if entry not in said)
    if "non_idempotent" in text:
        yield "a call that may have been done would be sent again"
    yield from _tested(text)


def _tested(text: str) -> Iterator[str]:
    """What `nginx -t` says of a copy with a certificate and hosts that are there."""
    program, openssl = shutil.which("nginx"), shutil.which("openssl")
    if program is None or openssl is None:
        return
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = f"{directory}/tls.crt", f"{directory}/tls.key"
        make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
        subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        copy = Path(directory) / "nginx.conf"
        moved = re.sub(r"/run/secrets|/tmp(?=/)", directory, text)
        copy.write_text(re.sub(r"keywheel-(\d)(?=:)", r"127.0.0.\1", moved), encoding="utf-8")
        done = subprocess.run(
            [program, "-e", "stderr", "-t", "-c", str(copy)], capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        yield from (line.replace(f"{directory}/", "") for line in done.stderr.splitlines() if "[emerg]" in line)
