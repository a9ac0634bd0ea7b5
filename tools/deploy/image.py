"""Containerfile: it is built from what is there and pinned, and does not run as root."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tools.deploy.reading import misused

_STAGE = re.compile(r"(\S+) AS (\S+)")
_PIP = re.compile(r"pip install ([^&|;]*)")
Instruction = tuple[str, str]


def check(file: Path, root: Path) -> Iterator[str]:
    """A line for each breach; `root` is where the build has its files from."""
    found = list(instructions(file.read_text(encoding="utf-8")))
    ignored = file.with_name(f"{file.name}.dockerignore").read_text(encoding="utf-8").split()
    stages: list[str] = []
    for name, rest in found:
        if name == "FROM":
            if (stage := _STAGE.fullmatch(rest)) is None:
                yield f"FROM {rest}: the stage has no name"
            else:
                stages.append(stage[2])
        elif name == "COPY":
            yield from (f"COPY {breach}" for breach in _copy(rest, root, ignored, stages))
        elif name == "RUN":
            for words in _PIP.findall(rest):
                if "--require-hashes" not in words and "--no-index" not in words:
                    yield f"pip install {words.strip()}: takes what is not pinned by hash"
    yield from _server(found)


def instructions(text: str) -> Iterator[Instruction]:
    """Each instruction with its arguments, on one line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name, " ".join(rest.split())


def _copy(rest: str, root: Path, ignored: list[str], stages: list[str]) -> Iterator[str]:
    *sources, _ = rest.split()
    if sources[0].startswith("--from="):
        if sources[0].partition("=")[2] not in stages[:-1]:
            yield f"{sources[0]}: there is no such stage before"
        return
    for source in sources:
        if not (root / source).exists():
            yield f"{source}: there is no such file"
        if not any(f"!{source}".startswith(kept) for kept in ignored if kept.startswith("!")):
            yield f"{source}: it is ignored"


def _server(found: list[Instruction]) -> Iterator[str]:
    """The last stage, which is what runs."""
    last = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    server = dict(found[last + 1 :])
    user = server.get("USER", "0").partition(":")[0]
    if not user.isdecimal() or int(user) == 0:
        yield "USER is not a number other than root's"
    if '"/health"' not in server.get("HEALTHCHECK", ""):
        yield "HEALTHCHECK does not ask for /health"
    try:
        words = [*json.loads(server.get("ENTRYPOINT", "[]")), *json.loads(server.get("CMD", "[]"))]
    except ValueError:
        yield "ENTRYPOINT and CMD are not lists, so a shell would get the signals"
        return
    if words[:1] != ["keywheel"] or (reason := misused(words[1:])) is not None:
        yield f"{words} is not a command of keywheel" if words[:1] != ["keywheel"] else str(reason)
