"""compose.yaml: what stands in it exists, replicas differ in their directories only, and secrets are files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from keywheel.config import Settings
from tools.deploy import nginx
from tools.deploy.reading import DATA, STOP_SECONDS, Node, documents, misused

_REPLICAS = 3
_CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
_OWN = ("hostname", "networks", "volumes")  # in which replicas differ
_SECRET_VARIABLE = re.compile(r"(PASSWORD|PASSPHRASE|SECRET|TOKEN|KEY|DATABASE)$")
_SECONDS = re.compile(r"(\d+)s")


def check(deploy: Path) -> Iterator[str]:
    """A line for each breach."""
    (compose,) = documents(deploy / "compose.yaml")
    services: dict[str, Node] = compose["services"]
    yield from _references(compose, services)
    yield from _secrets(compose, services)
    ours = {name: each for name, each in services.items() if str(each["image"]).startswith("keywheel:")}
    for name, service in ours.items():
        yield from (f"{name}: {breach}" for breach in _own_service(service))
    replicas = {name: each for name, each in ours.items() if each["command"][0] == "serve"}
    yield from _replicas(replicas, services)
    yield from _proxy(deploy / "nginx.conf", services["proxy"], replicas)


def _references(compose: Node, services: dict[str, Node]) -> Iterator[str]:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            if other not in services or condition not in _CONDITIONS:
                yield f"{name}: depends on {other} ({condition}), which there is not"
            elif condition == "service_healthy" and "test" not in services[other].get("healthcheck", {}):
                yield f"{name}: waits for the health of {other}, which is not checked"
    used = {
        "volumes": {volume.partition(":")[0] for each in services.values() for volume in each.get("volumes", [])},
        "networks": set(chain.from_iterable(each.get("networks", []) for each in services.values())),
        "secrets": {_source(secret) for each in services.values() for secret in each.get("secrets", [])},
    }
    for kind, names in used.items():
        named = {name for name in names if not name.startswith((".", "/"))}
        yield from (f"{kind}: {name} is used and not declared" for name in sorted(named - set(compose[kind])))
        yield from (f"{kind}: {name} is declared and not used" for name in sorted(set(compose[kind]) - named))


def _source(secret: str | Node) -> str:
    return secret if isinstance(secret, str) else str(secret["source"])


def _secrets(compose: Node, services: dict[str, Node]) -> Iterator[str]:
    for name, secret in compose["secrets"].items():
        if set(secret) != {"file"} or not secret["file"].startswith("./secrets/"):
            yield f"secrets: {name} must be a file of ./secrets/"
    for name, service in services.items():
        for variable in service.get("environment", {}):
            if _SECRET_VARIABLE.search(variable):
                yield f"{name}: {variable} would be a secret in the environment"


def _own_service(service: Node) -> Iterator[str]:
    if (reason := misused(service["command"])) is not None:
        yield reason
    if service.get("read_only") is not True:
        yield "its root file system can be written"
    if service.get("cap_drop") != ["ALL"] or "cap_add" in service or "privileged" in service:
        yield "it keeps capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "it may gain privileges"
    if "ports" in service:
        yield "it is published beside the proxy"
    if [volume.partition(":")[2] for volume in service["volumes"]] != [DATA]:
        yield f"its one volume is not at {DATA}"


def _replicas(replicas: dict[str, Node], services: dict[str, Node]) -> Iterator[str]:
    if len(replicas) < _REPLICAS:
        yield f"{len(replicas)} replicas; there should be {_REPLICAS}"
    common = [{key: value for key, value in each.items() if key not in _OWN} for each in replicas.values()]
    if any(each != common[0] for each in common):
        yield f"replicas differ in more than {', '.join(_OWN)}"
    for key in _OWN:
        if len({str(each.get(key)) for each in replicas.values()}) < len(replicas):
            yield f"replicas share their {key}"
    for name, service in replicas.items():
        grace = _SECONDS.fullmatch(str(service.get("stop_grace_period", "10s")))
        if grace is None or int(grace[1]) <= STOP_SECONDS:
            yield f"{name}: is killed while its children may still end ({STOP_SECONDS} s)"
        if "/ready" not in service.get("healthcheck", {}).get("test", []):
            yield f"{name}: its readiness is not checked"
        if _before(name, services) != ["migrate", "init"]:
            yield f"{name}: does not wait for `keywheel init` and then `keywheel migrate`"


def _before(name: str, services: dict[str, Node]) -> list[str]:
    """The commands that must have ended well before a service starts, the last one first."""
    done: list[str] = []
    for other, how in services[name].get("depends_on", {}).items():
        if how["condition"] == "service_completed_successfully" and other in services:
            done += [services[other]["command"][0], *_before(other, services)]
    return done


def _proxy(file: Path, proxy: Node, replicas: dict[str, Node]) -> Iterator[str]:
    """The proxy's file and compose.yaml speak of the same servers and secrets."""
    spoken = nginx.read(file)
    wanted = {f"{name}:{Settings().port}" for name in replicas}
    if spoken.upstreams != wanted:
        yield f"{file.name} serves {sorted(spoken.upstreams)}, and the replicas are {sorted(wanted)}"
    files = {f"/run/secrets/{_source(secret)}" for secret in proxy["secrets"]}
    yield from (f"{file.name}: {each} is not among the proxy's secrets" for each in sorted(spoken.secrets - files))
    if f"./{file.name}:/etc/keywheel/{file.name}:ro" not in proxy["volumes"]:
        yield f"the proxy does not get {file.name}"
