"""The rules of the house that a reader relies on, checked over its source."""

from __future__ import annotations

import ast
import enum
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import msgspec
import pytest

from keywheel.db.statement import Statement
from keywheel.sensitive import Sensitive

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
FILES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
GENERATED = {Path("keywheel/api/kms/shapes.py"), Path("keywheel/api/secretsmanager/shapes.py")}
# Not imported by name: Alembic runs these.
SCRIPTS = {path for path in FILES if "migrations" in path.parts and path.name != "__init__.py"}
MODULES = [path for path in FILES if path not in SCRIPTS and path.name != "__main__.py"]

# The settings; the Lambda function, and the process of a rotation function, which is given its own.
READS_THE_ENVIRONMENT = {"keywheel/config.py", "keywheel/aws_lambda.py", "keywheel/functions/child.py"}
READS_THE_TIME = {"keywheel/clock.py"}
# Where a secret value is uncovered, and what for. A new place here is a decision, and is reviewed as one.
REVEALS = {
    "keywheel/access/access_keys.py": "the secret half of an access key, to be wrapped or unwrapped",
    "keywheel/access/sessions.py": "the secret half and the token of a session, to be sealed and digested",
    "keywheel/access/sigv4.py": "the secret half of an access key, to derive a signing key",
    "keywheel/api/kms/ciphers.py": "plaintexts in answers, as they were asked for",
    "keywheel/api/kms/signatures.py": "shared secrets in answers, as they were asked for",
    "keywheel/keys/ciphers.py": "the plaintext, beside the cipher",
    "keywheel/api/secretsmanager/values.py": "the reply of GetSecretValue and of GetRandomPassword",
    "keywheel/aws_lambda.py": "the request of PutSecretValue",
    "keywheel/cli/client.py": "a value, in the body of a signed request",
    "keywheel/cli/values.py": "a value from a file, on its way into a request",
    "keywheel/credentials.py": "the credentials file",
    "keywheel/functions/local.py": "what a session signs with, on its way to the function that acts in it",
    "keywheel/rotation/known.py": "what must not be told of a function's words",
    "keywheel/keys/custom/stores.py": "a token's PIN or a proxy's secret, to be wrapped",
    "keywheel/keys/stores/token.py": "a token's PIN, beside the driver",
    "keywheel/keys/envelope.py": "the data key, beside the cipher",
    "keywheel/keys/grants.py": "the key of grant tokens, beside the digest",
    "keywheel/keys/root/ring.py": "the root key, beside the cipher",
    "keywheel/keys/root/source.py": "a new passphrase, on its way into its file",
    "keywheel/keys/root/token.py": "the PIN of the root key's token, on its way to the driver",
    "keywheel/keys/signing.py": "the audit ledger's private key, beside the cipher",
    "keywheel/keys/root/unseal.py": "the passphrase, beside Argon2id",
    "keywheel/rotation/store.py": "a pending value, on its way into the ledger",
    "keywheel/rotator.py": "the JSON of a secret",
    "keywheel/rotators/_libpq.py": "the password, beside the driver",
    "keywheel/rotators/postgres.py": "the password, beside the driver",
    "keywheel/secrets/ledger.py": "the size of a value",
    "keywheel/secrets/values.py": "a value, beside the envelope",
    "keywheel/testing/targets.py": "a search for it where it must not be",
    "keywheel/api/sts/sessions.py": "what a session signs with, in the answer to whoever assumed the role",
}
# The words that everything is said in, and the tools for tests, are offered under one name.
MORE_THAN_A_DOORMAT = {"keywheel/__init__.py", "keywheel/testing/__init__.py"}
HEAVY = {"alembic", "boto3", "botocore", "cryptography", "psycopg", "sqlalchemy", "uvicorn"}


def name_of(path: Path) -> str:
    """The module that a file is."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree(path: Path) -> ast.Module:
    """The syntax of a file."""
    return ast.parse((SOURCE / path).read_text(encoding="utf-8"))


def attributes(path: Path) -> Iterator[str]:
    """What a file takes from something else, with and without a call, and what it imports by name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_where(*words: str) -> set[str]:
    """The files that take one of these from something."""
    return {str(path) for path in FILES if any(each.endswith(words) for each in attributes(path))}


# --- imports -------------------------------------------------------------------------------------------------------

_IMPORT_EACH = """
import importlib, sys
for name in sys.argv[1:]:
    for known in [each for each in sys.modules if each.partition(".")[0] == "keywheel"]:
        del sys.modules[known]
    try:
        importlib.import_module(name)
    except BaseException as error:
        print(f"{name}: {error!r}")
"""


def test_every_module_can_be_imported_by_itself() -> None:
    """In any order: none needs that another one was there before."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_EACH, *(name_of(path) for path in MODULES)], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("", "")


_HELP = """
import sys
from keywheel.cli.main import main
sys.argv = ["keywheel", "--help"]
try:
    main()
finally:
    print(sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def test_help_loads_nothing_heavy() -> None:
    """Neither a database nor a cipher nor a server nor an AWS client: it is there at once."""
    done = subprocess.run([sys.executable, "-c", _HELP], capture_output=True, text=True)
    assert done.returncode == 0
    assert HEAVY & set(ast.literal_eval(done.stderr)) == set()


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=str)
def test_a_room_has_a_doormat(path: Path) -> None:
    """Its `__init__.py` says what the room is for and does nothing, so that importing one file imports one file."""
    found = tree(path)
    assert ast.get_docstring(found)
    assert str(path) in MORE_THAN_A_DOORMAT or len(found.body) == 1


# --- what is read where --------------------------------------------------------------------------------------------


def test_the_environment_is_read_in_one_place() -> None:
    """By the settings; and by functions, which are set up by nothing else."""
    assert files_where("os.environ", "os.environb", "os.getenv", "os.putenv") == READS_THE_ENVIRONMENT


def test_the_time_is_read_in_one_place() -> None:
    """Everything else is told; how long something took is measured on a clock that is not the time of day."""
    readers = ("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns")
    assert files_where(*(f".{reader}" for reader in readers), *readers) == READS_THE_TIME


def test_a_secret_value_is_uncovered_in_few_places() -> None:
    """Each with its reason; one that does not uncover any more leaves the list."""
    assert files_where(".reveal") == set(REVEALS)


def test_chance_that_protects_comes_from_the_system() -> None:
    """`random` spreads retries and draws nothing that must not be guessed."""
    importing = {
        str(path)
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import) and any(alias.name == "random" for alias in node.names)
    }
    assert importing == {"keywheel/rotation/driver.py", "keywheel/rotation/sentinel.py"}


# --- nothing is shared by being imported ---------------------------------------------------------------------------


def is_value(thing: object) -> bool:
    """Whether something of ours may be shared by all: it never changes."""
    kind: Any = type(thing)
    if hasattr(kind, "__dataclass_params__"):
        return bool(kind.__dataclass_params__.frozen)
    if isinstance(thing, msgspec.Struct):
        return bool(kind.__struct_config__.frozen)
    return isinstance(thing, (Statement, Sensitive, enum.Enum, tuple, click.Command))


def ours(module: ModuleType) -> Iterator[tuple[str, object]]:
    """The things in a module whose class is ours, also in its tables."""
    for name, thing in vars(module).items():
        if not name.startswith("__"):
            inside = (
                thing.values() if isinstance(thing, dict) else thing if isinstance(thing, (list, tuple, set)) else ()
            )
            for each in (thing, *inside):
                if type(each).__module__.startswith("keywheel"):
                    yield name, each


@pytest.mark.parametrize("path", [path for path in MODULES if path not in GENERATED], ids=str)
def test_a_module_holds_no_object_that_changes(path: Path) -> None:
    """Rooms are built in `server.py` and passed in; what a module holds is the same for ever."""
    module = importlib.import_module(name_of(path))
    assert [name for name, thing in ours(module) if not is_value(thing)] == []


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_holds_no_empty_table(path: Path) -> None:
    """One would be there to be filled, by whoever comes first."""
    empty = []
    for node in tree(path).body:
        value = getattr(node, "value", None) if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        if isinstance(value, (ast.Dict, ast.List)) and not ast.unparse(value).strip("[]{}"):
            empty.append(ast.unparse(node))
    assert empty == []


# --- what is said --------------------------------------------------------------------------------------------------


def public(path: Path) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The classes and functions that a file offers."""
    for node in tree(path).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield node


def is_sentence(text: str | None) -> bool:
    """Whether the first paragraph of a docstring ends like one."""
    return (text or "").partition("\n\n")[0].rstrip().endswith((".", ":", "?"))


@pytest.mark.parametrize("path", [path for path in FILES if path not in GENERATED], ids=str)
def test_everything_public_says_what_it_is(path: Path) -> None:
    """The file, and each class and function in it, in a sentence."""
    assert [node.name for node in public(path) if not is_sentence(ast.get_docstring(node))] == []
    assert is_sentence(ast.get_docstring(tree(path)))


def test_every_test_makes_a_promise() -> None:
    """A sentence stands below the name of each."""
    tests = [
        (path.relative_to(ROOT), node)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert [
        f"{path}:{node.lineno} {node.name}" for path, node in tests if not is_sentence(ast.get_docstring(node))
    ] == []
