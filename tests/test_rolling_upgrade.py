"""An old and a new version serve together on one store: real servers, the new one with revisions that the old lacks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import keywheel
from tests.support.keywheel_server import KeywheelServer, clean_environment
from tests.support.servers import PostgresServer

_FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-single-user"
_REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, phase = "{name}", "{before}", "{phase}"


def upgrade() -> None:
    {work}
"""
_ADDED = (
    'op.add_column("secret", sa.Column("colour", sa.Text(), nullable=True)); '
    'op.create_table("novelty", sa.Column("id", sa.BigInteger(), primary_key=True))'
)
_TAKEN = 'op.drop_index("ix_journal_audited")'


def new_version(directory: Path) -> dict[str, str]:
    """A copy of the program with two more revisions, as the environment in which it runs."""
    source = Path(keywheel.__file__).parent
    shutil.copytree(source, directory / "keywheel", ignore=shutil.ignore_patterns("__pycache__"))
    versions = directory / "keywheel" / "db" / "migrations" / "versions"
    last = max(path.name.partition("_")[0] for path in versions.glob("[0-9]*.py"))
    for name, before, phase, work in [("8001", last, "expand", _ADDED), ("8002", "8001", "contract", _TAKEN)]:
        text = _REVISION.format(name=name, before=before, phase=phase, work=work)
        (versions / f"{name}_new.py").write_text(text, encoding="utf-8")
    return {"PYTHONPATH": str(directory)}


def test_old_and_new_serve_together_until_the_old_is_gone(
    tmp_path: Path, postgresql_url: str, postgres: PostgresServer
) -> None:
    """The schema is expanded under a running server; both rotate and read what the other wrote; then it contracts."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    new = new_version(tmp_path / "package")

    def migrate(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "keywheel", "migrate", "--data", str(old.data), "--database", postgresql_url]
        return subprocess.run([*command, *options], capture_output=True, text=True, env={**clean_environment(), **new})

    with KeywheelServer(tmp_path / "old", postgresql_url) as old:
        rotate(old, postgres, "before")
        checked = migrate("--check")
        assert (checked.returncode, "8001" in checked.stdout) == (1, True), checked.stderr
        applied = migrate()
        assert "Applied 8001" in applied.stdout, applied.stderr
        assert "8002 waits" in applied.stdout
        rotate(old, postgres, "expanded")
        shutil.copytree(
            old.data, tmp_path / "new" / "keywheel-data", ignore=shutil.ignore_patterns("engine.lock", "audit")
        )
        with KeywheelServer(tmp_path / "new", postgresql_url, environment=new) as renewed:
            rotate(renewed, postgres, "by-new")
            old.restart()  # as after a crash, or a roll-back
            rotate(old, postgres, "by-old")
            for name in ("before", "expanded", "by-new", "by-old"):
                assert value(old, name) == value(renewed, name)
            old.stop()
            contracted = migrate("--contract")
            assert "Applied 8002" in contracted.stdout, contracted.stderr
            rotate(renewed, postgres, "afterwards")
        refused = subprocess.run(
            [sys.executable, "-m", "keywheel", "serve", "--data", str(old.data), "--database", postgresql_url],
            capture_output=True,
            text=True,
            env=clean_environment(),
        )
        assert refused.returncode == 1
        assert "schema 8002, which this version of keywheel does not know" in refused.stderr


def rotate(server: KeywheelServer, postgres: PostgresServer, name: str) -> None:
    """A new secret of a new user, rotated once through a server."""
    user, api = postgres.new_user(), server.client()
    fields = {**user.fields, "password": user.password.reveal()}
    api.create_secret(Name=name, SecretString=json.dumps(fields))
    api.rotate_secret(SecretId=name, RotationLambdaARN=_FUNCTION, ClientRequestToken=str(uuid.uuid4()))
    repaired = server.keywheel("repair", name)
    assert repaired.returncode == 0, repaired
    assert value(server, name)["password"] != fields["password"]


def value(server: KeywheelServer, name: str) -> dict[str, str]:
    """What a server publishes."""
    found: dict[str, str] = json.loads(server.client().get_secret_value(SecretId=name)["SecretString"])
    return found
