"""deploy/ keeps the rules of tools/check_deploy.py, and the check finds what breaks one."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.keywheel_server import KeywheelServer
from tests.support.servers import free_port
from tools import check_deploy
from tools.check_deploy import ROOT

# A file, what stands in it, what somebody might have written instead, and words of the breach.
SPOILED = [
    ("Containerfile", "USER 10001:10001", "USER root", "USER is not a number"),
    ("Containerfile", "COPY src src", "COPY source src", "there is no such file"),
    ("Containerfile", " --require-hashes -r requirements/server.txt", " -r requirements/server.txt", "not pinned"),
    ("Containerfile", "--from=build", "--from=built", "no such stage"),
    ("Containerfile", 'CMD ["serve"]', 'CMD ["server"]', "has no command `server`"),
    ("Containerfile", 'ENTRYPOINT ["keywheel"]', "ENTRYPOINT keywheel", "a shell would get the signals"),
    ("Containerfile", '"/health"]', '"/"]', "HEALTHCHECK does not ask"),
    ("Containerfile", "KEYWHEEL_HOST=0.0.0.0", "KEYWHEEL_LISTEN=0.0.0.0", "KEYWHEEL_LISTEN is not a setting"),
    ("Containerfile.dockerignore", "!src", "", "src: it is ignored"),
    ("keywheel.example.toml", "database =", "data_base =", "data_base"),
    ("compose.yaml", "read_only: true\n  cap_drop", "read_only: false\n  cap_drop", "can be written"),
    ("compose.yaml", "cap_drop: [ALL]\n  security", "cap_drop: []\n  security", "keeps capabilities"),
    ("compose.yaml", "KEYWHEEL_PASSPHRASE_FILE:", "KEYWHEEL_PASSPHRASE:", "a secret in the environment"),
    ("compose.yaml", "{file: ./secrets/passphrase}", "{environment: PASSPHRASE}", "must be a file"),
    ("compose.yaml", "stop_grace_period: 60s\n  restart", "restart", "is killed while"),
    ("compose.yaml", "hostname: keywheel-2", "hostname: keywheel-1", "share their hostname"),
    ("compose.yaml", '["keywheel-2:/var', '["keywheel-1:/var', "share their volumes"),
    ("compose.yaml", "    migrate: {condition: service_completed_successfully}\n", "", "does not wait for"),
    ("compose.yaml", "  database: {}\n", "", "database is used and not declared"),
    ("compose.yaml", "command: [migrate]", "command: [migrate, --quietly]", "No such option"),
    ("compose.yaml", "  shm_size", "  image: postgres\n    shm_size", "the key image stands twice"),
    ("compose.yaml", "services:\n", "services: [\n", "compose.yaml: cannot be read"),
    ("compose.yaml", "depends_on:\n      init:", "depends_on:\n      none:", "depends on none"),
    ("nginx.conf", "keywheel-3:8200", "keywheel-4:8200", "the replicas are"),
    ("nginx.conf", "access_log off;", "", "signatures of presigned"),
    ("nginx.conf", "stderr crit", "stderr warn", "an error log would"),
    ("nginx.conf", "Host $http_host", "Host $host", "the signed Host header"),
    ("nginx.conf", "proxy_pass http://keywheel;", "proxy_pass http://keywheel/;", "the signed path"),
    ("nginx.conf", "client_body_buffer_size 1m", "client_body_buffer_size 16k", "written to files"),
    ("nginx.conf", "error timeout;", "error timeout non_idempotent;", "may have been done"),
    ("nginx.conf", "least_conn;", "least_conn {;", "braces do not match"),
    ("nginx.conf", "/run/secrets/tls.key", "/run/secrets/key.pem", "not among the proxy's secrets"),
    ("kubernetes/replicas.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "security context"),
    ("kubernetes/replicas.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
    ("kubernetes/replicas.yaml", "apiVersion: apps/v1", "apiVersion: v1", "does not belong here"),
    ("kubernetes/replicas.yaml", "path: /ready", "path: /health", "readinessProbe"),
    ("kubernetes/replicas.yaml", "name: https, containerPort", "name: http, containerPort", "no port https"),
    ("kubernetes/replicas.yaml", "secretName: keywheel-tls", "secretName: tls", "the Secret tls is not documented"),
    ("kubernetes/replicas.yaml", "PeriodSeconds: 60", "PeriodSeconds: 30", "is killed while"),
    ("kubernetes/replicas.yaml", "enableServiceLinks: false", "enableServiceLinks: true", "KEYWHEEL_PORT"),
    ("kubernetes/replicas.yaml", "name: KEYWHEEL_TLS_KEY", "name: KEYWHEEL_KEY", "KEYWHEEL_KEY is not a setting"),
    ("kubernetes/replicas.yaml", "value: /run/keywheel/tls/tls.key", "value: /run/tls/tls.key", "on no mount"),
    ("kubernetes/replicas.yaml", "mountPath: /run/keywheel/tls,", "mountPath: /run/tls,", "on no mount"),
    ("kubernetes/replicas.yaml", "serviceName: keywheel-replicas", "serviceName: keywheel", "not a headless Service"),
    ("kubernetes/replicas.yaml", "configMapRef: {name: keywheel}", "configMapRef: {name: other}", "no ConfigMap other"),
    ("kubernetes/service.yaml", "maxUnavailable: 1", "maxUnavailable: 1\n  maxUnavailable: 2", "stands twice"),
    ("kubernetes/service.yaml", "kind: Service\n", "kind: Secret\n", "Secret of v1 does not belong here"),
    ("kubernetes/network.yaml", "app.kubernetes.io/name: keywheel}\n  policy", "app: kw}\n  policy", "selects no pod"),
    ("kubernetes/settings.yaml", "KEYWHEEL_DATA: /", "KEYWHEEL_DATABASE: postgresql://a:b@c/d#/", "holds a password"),
    ("kubernetes/kustomization.yaml", "  - network.yaml\n", "", "network.yaml is named on one side only"),
    ("kubernetes/migrate-job.yaml", "claimName: keywheel-", "claimName: kw-", "no PersistentVolumeClaim kw-"),
    ("kubernetes/init-job.yaml", "--access-key-id=", "--access-key=", "No such option"),
    ("kubernetes/init-job.yaml", "key: access-key-id", "key: secret-access-key", "would be in the environment"),
    ("systemd/keywheel.service", "ProtectSystem=strict", "ProtectSystem=full", "ProtectSystem=strict is missing"),
    ("systemd/keywheel.service", "--role all", "--role both", "Invalid value for '--role'"),
    ("systemd/keywheel.service", "TimeoutStopSec=60", "TimeoutStopSec=10", "is killed while"),
    ("systemd/keywheel.service", "LoadCredential=passphrase", "LoadCredential=phrase", "loaded or used"),
    ("systemd/keywheel.service", "[Install]", "[Installation]", "there is no section"),
    ("systemd/keywheel.service", "User=keywheel", "User=nobody", "not in the sysusers file"),
    ("systemd/keywheel.service", "ProtectProc=", "ProcSubset=pid\nProtectProc=", "present start"),
    ("systemd/keywheel-engine.service", "/keywheel-engine --role", "/kw --role", "not its StateDirectory"),
    ("systemd/keywheel-engine.service", "=keywheel-engine\n", "=keywheel-api\n", "shares its data directory"),
]  # fmt: skip


def breaches(deploy: Path, root: Path = ROOT) -> Sequence[str]:
    return list(check_deploy.check(deploy, root))


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    """A copy that may be spoiled."""
    return Path(shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets")))


def test_what_is_in_the_repository_keeps_every_rule() -> None:
    """Files, options and settings of `deploy/` are those of this version."""
    assert breaches(ROOT / "deploy") == []


@pytest.mark.parametrize(("file", "right", "wrong", "expected"), SPOILED, ids=[f"{e[0]}: {e[3]}" for e in SPOILED])
def test_a_broken_copy_is_found(deploy: Path, file: str, right: str, wrong: str, expected: str) -> None:
    """Each rule is one that can be broken, and is told by its words."""
    text = (deploy / file).read_text(encoding="utf-8")
    assert right in text
    (deploy / file).write_text(text.replace(right, wrong), encoding="utf-8")
    assert expected in "\n".join(breaches(deploy))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here to ask")
def test_systemd_itself_finds_a_wrong_entry(deploy: Path) -> None:
    """Where it is there, it is asked too."""
    unit = deploy / "systemd" / "keywheel.service"
    unit.write_text(unit.read_text(encoding="utf-8").replace("KillMode=mixed", "KillMode=some"), encoding="utf-8")
    assert "keywheel.service" in "\n".join(breaches(deploy))


def test_the_image_installs_what_was_tested(tmp_path: Path) -> None:
    """A pin that the demo's requirements do not have is found."""
    (tmp_path / "docs" / "operations").mkdir(parents=True)
    shutil.copy(ROOT / check_deploy.PAGE, tmp_path / check_deploy.PAGE)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    server = tmp_path / "requirements" / "server.txt"
    server.write_text(server.read_text(encoding="utf-8").replace("click==", "click==1.", 1), encoding="utf-8")
    assert "is not what demo.txt has" in "\n".join(breaches(ROOT / "deploy", tmp_path))


def test_the_health_check_of_the_image_tells_whether_the_server_answers(tmp_path: Path) -> None:
    """As a container runs it: by the settings in the environment."""
    main = runpy.run_path(str(ROOT / "deploy" / "health.py"))["main"]
    with KeywheelServer(tmp_path) as server:
        port = server.url.rpartition(":")[2]
        known = {"KEYWHEEL_DATA": str(server.data), "KEYWHEEL_PORT": port}
        answers = [main(path, known) for path in ("/health", "/ready", "/other")]
    assert answers == [0, 0, 1]
    assert main("/health", {"KEYWHEEL_PORT": str(free_port())}) == 1
    assert main("/health", {"KEYWHEEL_ROLE": "engine"}) == 0
