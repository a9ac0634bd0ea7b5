"""kubernetes/: what is selected is there, pods are closed and probed, and a Secret is only ever referred to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.deploy.reading import STOP_SECONDS, Node, documents, misused, option, shows_a_password, unknown_settings

_VERSIONS = {
    "ConfigMap": "v1",
    "Job": "batch/v1",
    "Kustomization": "kustomize.config.k8s.io/v1beta1",
    "Namespace": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PersistentVolumeClaim": "v1",
    "PodDisruptionBudget": "policy/v1",
    "Service": "v1",
    "ServiceAccount": "v1",
    "StatefulSet": "apps/v1",
}
_PROBES = {"startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready"}
_NAMESPACE = "keywheel"
_CLAIM = "persistentVolumeClaim"
_CLOSED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def check(folder: Path, page: str) -> Iterator[str]:
    """A line for each breach; `page` is the documentation, which must name every Secret."""
    files = {path.name: documents(path) for path in sorted(folder.glob("*.yaml"))}
    for name, found in files.items():
        for each in found:
            yield from (f"{name}: {breach}" for breach in _head(each))
    everything = [each for found in files.values() for each in found]
    yield from _resources(files)
    workloads = [each for each in everything if each["kind"] in ("StatefulSet", "Job")]
    for workload in workloads:
        spec = workload["spec"]["template"]["spec"]
        where = f"{workload['kind']} {workload['metadata']['name']}"
        breaches = [*_pod(spec), *_mounts(workload), *_refers(spec, everything, page)]
        yield from (f"{where}: {breach}" for breach in breaches)
    for stateful in (each for each in workloads if each["kind"] == "StatefulSet"):
        yield from _stateful(stateful, everything)
    yield from _selectors(everything, workloads)


def _head(each: Node) -> Iterator[str]:
    kind = each.get("kind", "nothing")
    if each.get("apiVersion") != _VERSIONS.get(kind, ""):
        yield f"{kind} of {each.get('apiVersion')} does not belong here"
    if kind == "Kustomization":
        return
    metadata = each.get("metadata", {})
    if not metadata.get("name"):
        yield f"a {kind} has no name"
    if kind != "Namespace" and metadata.get("namespace") != _NAMESPACE:
        yield f"{kind} {metadata.get('name')} is not in the namespace {_NAMESPACE}"
    if kind == "ConfigMap":
        yield from unknown_settings(" ".join(each["data"]))
        yield from ("a ConfigMap holds a password" for value in each["data"].values() if shows_a_password(value))


def _resources(files: dict[str, list[Node]]) -> Iterator[str]:
    """kustomization.yaml names everything but the jobs, which have their own moment."""
    named = set(files["kustomization.yaml"][0]["resources"])
    jobs = {name for name, found in files.items() if any(each["kind"] == "Job" for each in found)}
    wanted = set(files) - jobs - {"kustomization.yaml"}
    yield from (f"kustomization.yaml: {name} is named on one side only" for name in sorted(named ^ wanted))


def _containers(spec: Node) -> list[Node]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def _pod(spec: Node) -> Iterator[str]:
    context = spec.get("securityContext", {})
    if not context.get("runAsNonRoot") or not context.get("runAsUser"):
        yield "it may run as root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "its system calls are not filtered"
    if spec.get("automountServiceAccountToken") is not False:
        yield "it gets a token of the cluster"
    if spec.get("enableServiceLinks") is not False:
        yield "the variable KEYWHEEL_PORT would be set by the cluster"
    for container in _containers(spec):
        name = container["name"]
        if container.get("securityContext") != _CLOSED:
            yield f"{name}: its security context is not {_CLOSED}"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield f"{name}: its memory has no limit"
        if "command" not in container and (reason := misused(container.get("args", []))) is not None:
            yield f"{name}: {reason}"
        variables = container.get("env", [])
        yield from (f"{name}: {breach}" for breach in unknown_settings(" ".join(each["name"] for each in variables)))


def _mounts(workload: Node) -> Iterator[str]:
    spec = workload["spec"]["template"]["spec"]
    claims = [each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])]
    volumes = {*claims, *(each["name"] for each in spec.get("volumes", []))}
    used = set()
    for container in _containers(spec):
        mounts = container.get("volumeMounts", [])
        paths = [each["mountPath"] for each in mounts]
        used |= {each["name"] for each in mounts}
        yield from (
            f"{container['name']}: mounts {name}, which there is not" for name in sorted(_names(mounts) - volumes)
        )
        for word in ("--data", "--secret-access-key-file"):
            value = option(container.get("args", []), word)
            if value is not None and not value.startswith(tuple(f"{path}/" for path in paths)):
                yield f"{container['name']}: {word} {value} is on no mount"
        for variable in container.get("env", []):
            value = variable.get("value", "")
            if value.startswith("/") and not value.startswith(tuple(f"{path}/" for path in paths)):
                yield f"{container['name']}: {variable['name']} {value} is on no mount"
    yield from (f"the volume {name} is not used" for name in sorted(volumes - used))


def _names(found: list[Node]) -> set[str]:
    return {each["name"] for each in found}


def _refers(spec: Node, everything: list[Node], page: str) -> Iterator[str]:
    """Secrets are documented, and whatever else is referred to is in these files."""
    secrets = {each["secret"]["secretName"] for each in spec.get("volumes", []) if "secret" in each}
    maps = set()
    for container in _containers(spec):
        maps |= {each["configMapRef"]["name"] for each in container.get("envFrom", []) if "configMapRef" in each}
        yield from ("a whole Secret in the environment" for each in container.get("envFrom", []) if "secretRef" in each)
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference is None:
                continue
            secrets.add(reference["name"])
            if not reference["key"].endswith("-id"):
                yield f"the secret {reference['name']}/{reference['key']} would be in the environment"
    yield from (f"the Secret {name} is not documented" for name in sorted(secrets) if f"`{name}`" not in page)
    known = {(each["kind"], each["metadata"]["name"]) for each in everything if "metadata" in each}
    claims = {each[_CLAIM]["claimName"] for each in spec.get("volumes", []) if _CLAIM in each}
    wanted = {("ServiceAccount", spec.get("serviceAccountName"))}
    wanted |= {*(("ConfigMap", name) for name in maps), *(("PersistentVolumeClaim", name) for name in claims)}
    yield from (f"there is no {kind} {name}" for kind, name in sorted(wanted - known, key=str))


def _stateful(stateful: Node, everything: list[Node]) -> Iterator[str]:
    name, spec = stateful["metadata"]["name"], stateful["spec"]
    pod = spec["template"]["spec"]
    headless = {
        each["metadata"]["name"] for each in _of(everything, "Service") if each["spec"].get("clusterIP") == "None"
    }
    if spec["serviceName"] not in headless:
        yield f"StatefulSet {name}: {spec['serviceName']} is not a headless Service"
    if pod.get("terminationGracePeriodSeconds", 30) <= STOP_SECONDS:
        yield f"StatefulSet {name}: is killed while its children may still end ({STOP_SECONDS} s)"
    for container in pod["containers"]:
        ports = _names(container.get("ports", []))
        for probe, path in _PROBES.items():
            ask = container.get(probe, {}).get("httpGet", {})
            if ask.get("path") != path or ask.get("port") not in ports or ask.get("scheme") != "HTTPS":
                yield f"StatefulSet {name}: its {probe} does not ask a named port for {path} by HTTPS"
    budgets = [each["spec"]["selector"]["matchLabels"] for each in _of(everything, "PodDisruptionBudget")]
    if not any(_selects(labels, stateful) for labels in budgets):
        yield f"StatefulSet {name}: no PodDisruptionBudget protects it"
    policies = [each["spec"]["podSelector"]["matchLabels"] for each in _of(everything, "NetworkPolicy")]
    if not any(_selects(labels, stateful) for labels in policies):
        yield f"StatefulSet {name}: no NetworkPolicy guards it"


def _of(everything: list[Node], kind: str) -> list[Node]:
    return [each for each in everything if each["kind"] == kind]


def _selects(labels: dict[str, Any], workload: Node) -> bool:
    return bool(labels) and labels.items() <= workload["spec"]["template"]["metadata"]["labels"].items()


def _selectors(everything: list[Node], workloads: list[Node]) -> Iterator[str]:
    """Whatever selects pods selects some, and a Service only those that listen on its port."""
    where = {
        "StatefulSet": lambda each: each["spec"]["selector"]["matchLabels"],
        "PodDisruptionBudget": lambda each: each["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": lambda each: each["spec"]["podSelector"]["matchLabels"],
        "Service": lambda each: each["spec"]["selector"],
    }
    for each in everything:
        if each["kind"] not in where:
            continue
        name = f"{each['kind']} {each['metadata']['name']}"
        chosen = [workload for workload in workloads if _selects(where[each["kind"]](each), workload)]
        if not chosen:
            yield f"{name}: selects no pod"
        if each["kind"] == "Service":
            ports = [_ports(workload) for workload in chosen]
            for port in each["spec"]["ports"]:
                if not port.get("name") or any(port["targetPort"] not in names for names in ports):
                    yield f"{name}: a selected pod has no port {port['targetPort']}"


def _ports(workload: Node) -> set[str]:
    containers = workload["spec"]["template"]["spec"]["containers"]
    return {port["name"] for container in containers for port in container.get("ports", [])}
