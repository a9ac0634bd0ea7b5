"""Mutation testing of the rooms that decide: change a rule by one small step, and see that a test notices.

mutmut makes the mutants and runs the tests of each in a copy of the tree, in forks of one process. What survives is
tried again in a process of its own, since what was computed when the tests were imported, or is remembered, is the
unchanged rule's. Fails with a line for each survivor that tools/survivors.toml does not explain, and for each
explanation that explains none.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / ".work" / "mutants"
_DECISIONS = [f"tests/access/test_{name}.py" for name in
              ("fine_points", "policy", "documents", "conditions", "patterns", "authorize", "principals")]  # fmt: skip
_SIGNATURES = ["tests/access/test_fine_points.py", "tests/access/test_sigv4.py", "tests/known_answers/test_sigv4.py"]
_KEYS = ["tests/keys/test_ciphertext.py", "tests/keys/test_states.py"]
# The modules, and the quick tests that answer for them.
MODULES = {
    "access.policy": _DECISIONS,
    "access.documents": _DECISIONS,
    "access.conditions": _DECISIONS,
    "access.patterns": _DECISIONS,
    "access.authorize": _DECISIONS,
    "access.sigv4": _SIGNATURES,
    "keys.ciphertext": _KEYS,
    "keys.states": _KEYS,
}


class Mutant(NamedTuple):
    """One mutant: the module and function it is in, and the line before and after."""

    name: str
    place: str
    was: str
    becomes: str

    @property
    def key(self) -> str:
        """How tools/survivors.toml names it."""
        return f"{self.place}: {self.was} -> {self.becomes}"


def main(arguments: list[str]) -> int:
    """Mutate the modules that are named, or all of them."""
    modules = arguments or list(MODULES)
    _prepare(modules)
    _run([sys.executable, "-m", "mutmut", "run", "--max-children", "1"], COPY)
    explained = _explained()
    unexplained, used = 0, set[str]()
    for module in modules:
        codes = _codes(module)
        mutants = {one.name: one for one in _mutants(module, [name for name, code in codes.items() if code == 0])}
        survivors = [one for name, one in mutants.items() if _survives(name, MODULES[module])]
        used |= {one.key for one in survivors}
        strange = [one for one in survivors if one.key not in explained]
        unexplained += len(strange)
        killed = len(codes) - len(survivors)
        print(f"{module}: {len(codes)} mutants, {killed} killed, {len(survivors)} survived", flush=True)
        for one in strange:
            print(f"  not explained: {one.key}")
    idle = sorted(key for key in explained.keys() - used if key.startswith(tuple(f"{module}." for module in modules)))
    for key in idle:
        print(f"explains nothing: {key}")
    return 1 if unexplained or idle else 0


def _prepare(modules: list[str]) -> None:
    """A copy of the tree, in which mutmut works."""
    shutil.rmtree(COPY, ignore_errors=True)
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, COPY / name, ignore=shutil.ignore_patterns("__pycache__"))
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/keywheel/{module.replace('.', '/')}.py" for module in modules],
        "pytest_add_cli_args_test_selection": sorted({test for module in modules for test in MODULES[module]}),
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    text = "\n".join(["[tool.mutmut]", *lines, "use_git_change_detection = false", ""])
    (COPY / "pyproject.toml").write_text(text, encoding="utf-8")


def _environment(**more: str) -> Mapping[str, str]:
    """Tests draw the same examples each time, and find the copy and nothing else."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "CI": "1", **more}


def _run(command: list[str], directory: Path, **more: str) -> int:
    done = subprocess.run(
        command, cwd=directory, env=_environment(**more), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if "mutmut" in command and done.returncode:
        sys.exit(f"mutmut failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.returncode


def _path(module: str) -> Path:
    return COPY / "mutants" / "src" / "keywheel" / f"{module.replace('.', '/')}.py"


def _codes(module: str) -> dict[str, int | None]:
    """What pytest said of each mutant; 0 of a survivor."""
    found: dict[str, int | None] = json.loads(_path(module).with_suffix(".py.meta").read_text())["exit_code_by_key"]
    return found


def _survives(name: str, tests: list[str]) -> bool:
    """Whether no test notices the mutant in a process of its own."""
    there = COPY / "mutants"
    command = [sys.executable, "-m", "pytest", "--rootdir=.", "-x", "-q", "-p", "no:cacheprovider", *tests]
    return _run(command, there, MUTANT_UNDER_TEST=name, PYTHONPATH=f"{there / 'src'}{os.pathsep}{there}") == 0


def _mutants(module: str, names: list[str]) -> Iterator[Mutant]:
    """The mutants with these names."""
    source = _path(module).read_text(encoding="utf-8")
    lines = source.splitlines()
    functions = {
        node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno]).replace(node.name, "", 1).splitlines()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }
    for name in names:
        own = name.rpartition(".")[2]
        stem = own.rpartition("__mutmut_")[0]
        before, after = functions[f"{stem}__mutmut_orig"], functions[own]
        changed = [line for line in difflib.unified_diff(before, after, n=0, lineterm="") if line[:3] not in _MARKS]
        was, becomes = (" ".join(line[1:].strip() for line in changed if line[0] == sign) for sign in "-+")
        function = stem.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
        yield Mutant(name, f"{module}.{function}", was, becomes)


_MARKS = ("---", "+++", "@@ ")


def _explained() -> dict[str, str]:
    """Why each survivor that is known may survive."""
    groups = tomllib.loads((ROOT / "tools" / "survivors.toml").read_text(encoding="utf-8"))["group"]
    return {key: group["why"] for group in groups for key in group["mutants"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
