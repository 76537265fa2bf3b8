"""Pods, as launchers and people's tools make them: the defaults of their fields, and the rules a typo meets first.

Nothing runs pods here; they are stored for whoever does. Rules about single volume sources, probes and security
contexts are left to the kubelet.
"""

from __future__ import annotations

from virt_kube.api import Json
from virt_local.apiserver.kinds import values
from virt_local.apiserver.status import DUPLICATE, forbidden_value, not_supported, required
from virt_types.errors import Cause

_SPEC = (
    ("restartPolicy", "Always"),
    ("terminationGracePeriodSeconds", 30),
    ("dnsPolicy", "ClusterFirst"),
    ("schedulerName", "default-scheduler"),
    ("enableServiceLinks", True),
    ("preemptionPolicy", "PreemptLowerPriority"),
    ("priority", 0),
)
_CONTAINER = (("terminationMessagePath", "/dev/termination-log"), ("terminationMessagePolicy", "File"))
_PROBE = (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3))
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_CONTAINER_LISTS = ("initContainers", "containers")
_FILE_MODE = 0o644
_MODE_SOURCES = ("configMap", "secret", "downwardAPI", "projected")
_RESTART = ("Always", "Never", "OnFailure")
_DNS = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_PULL = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
# What an update may change of a pod's spec, besides adding tolerations and the images of containers.
_MUTABLE = ("activeDeadlineSeconds", "tolerations", "schedulingGates")
_FROZEN = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def prepare(obj: Json, old: Json | None) -> None:
    spec = obj["spec"]
    for key, value in _SPEC:
        spec.setdefault(key, value)
    spec.setdefault("securityContext", {})
    for field in _CONTAINER_LISTS:
        for container in spec.get(field) or []:
            _container(container)
    for volume in spec.get("volumes") or []:
        _volume(volume)
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    if old is None:
        obj["status"] = {"phase": "Pending", "qosClass": _quality(spec)}


def _container(container: Json) -> None:
    for key, value in _CONTAINER:
        container.setdefault(key, value)
    image = container.get("image") or ""
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    latest = tag == "latest" or (not tag and "@" not in image)
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    resources = container["resources"]
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    for name in _PROBES:
        if (probe := container.get(name)) is not None:
            for key, number in _PROBE:
                probe.setdefault(key, number)
            if (http := probe.get("httpGet")) is not None:
                http.setdefault("path", "/")
                http.setdefault("scheme", "HTTP")
    for variable in container.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")


def _volume(volume: Json) -> None:
    for source in _MODE_SOURCES:
        if (found := volume.get(source)) is not None:
            found.setdefault("defaultMode", _FILE_MODE)
    if (host := volume.get("hostPath")) is not None:
        host.setdefault("type", "")
    if not volume.keys() - {"name"}:
        volume["emptyDir"] = {}


def _quality(spec: Json) -> str:
    """The pod's quality of service class."""
    resources = [container["resources"] for field in _CONTAINER_LISTS for container in spec.get(field) or []]
    if not any(found.get("requests") or found.get("limits") for found in resources):
        return "BestEffort"
    whole = all(
        found.get("limits", {}).get(name) and found["limits"][name] == (found.get("requests") or {}).get(name)
        for found in resources
        for name in ("cpu", "memory")
    )
    return "Guaranteed" if whole else "Burstable"


def causes(obj: Json, old: Json | None) -> list[Cause]:
    spec = obj["spec"]
    found = _volumes(spec)
    if not spec.get("containers"):
        found.append(required("spec.containers"))
    names: set[str] = set()
    for field in _CONTAINER_LISTS:
        for index, container in enumerate(spec.get(field) or []):
            found += _container_causes(f"spec.{field}[{index}]", container, names)
    found += values.one_of("spec.restartPolicy", spec["restartPolicy"], _RESTART)
    found += values.one_of("spec.dnsPolicy", spec["dnsPolicy"], _DNS)
    if (grace := spec["terminationGracePeriodSeconds"]) < 0:
        found += values.not_negative("spec.terminationGracePeriodSeconds", grace)
    if spec.get("hostname"):
        found += values.label_name("spec.hostname", spec["hostname"])
    for field in ("nodeName", "serviceAccountName"):
        if spec.get(field):
            found += values.subdomain(f"spec.{field}", spec[field])
    return found if old is None or found else _changes(spec, old.get("spec") or {})


def _volumes(spec: Json) -> list[Cause]:
    found: list[Cause] = []
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or []):
        at, name = f"spec.volumes[{index}]", volume.get("name") or ""
        found += [required(f"{at}.name")] if not name else values.label_name(f"{at}.name", name)
        if name in names:
            found.append(Cause(DUPLICATE, f'Duplicate value: "{name}"', f"{at}.name"))
        names.add(name)
        extra = sorted(volume.keys() - {"name"})[1:]
        found += [forbidden_value(f"{at}.{source}", "may not specify more than 1 volume type") for source in extra]
    return found


def _container_causes(at: str, container: Json, names: set[str]) -> list[Cause]:
    name = container.get("name") or ""
    found = [required(f"{at}.name")] if not name else values.label_name(f"{at}.name", name)
    if name in names:
        found.append(Cause(DUPLICATE, f'Duplicate value: "{name}"', f"{at}.name"))
    names.add(name)
    if not container.get("image"):
        found.append(required(f"{at}.image"))
    found += values.one_of(f"{at}.imagePullPolicy", container["imagePullPolicy"], _PULL)
    for index, port in enumerate(container.get("ports") or []):
        here = f"{at}.ports[{index}]"
        found += values.port(f"{here}.containerPort", port.get("containerPort"))
        if port["protocol"] not in _PROTOCOLS:
            found.append(not_supported(f"{here}.protocol", port["protocol"], _PROTOCOLS))
        if port.get("name"):
            found += values.port_or_name(f"{here}.name", port["name"])
    for index, variable in enumerate(container.get("env") or []):
        if not variable.get("name"):
            found.append(required(f"{at}.env[{index}].name"))
    return found


def _changes(spec: Json, old: Json) -> list[Cause]:
    for field in _CONTAINER_LISTS:
        if len(spec.get(field) or []) != len(old.get(field) or []):
            return [forbidden_value(f"spec.{field}", "pod updates may not add or remove containers")]
    found = _toleration_changes(spec.get("tolerations") or [], old.get("tolerations") or [])
    return found if _frozen_part(spec) == _frozen_part(old) else [*found, forbidden_value("spec", _FROZEN)]


def _toleration_changes(new: list[Json], old: list[Json]) -> list[Cause]:
    """Tolerations may be added; of those there only the seconds may change."""
    known = [{**toleration, "tolerationSeconds": None} for toleration in new]
    if all({**toleration, "tolerationSeconds": None} in known for toleration in old):
        return []
    text = "existing toleration can not be modified except its tolerationSeconds"
    return [forbidden_value("spec.tolerations", text)]


def _frozen_part(spec: Json) -> Json:
    found = {key: value for key, value in spec.items() if key not in _MUTABLE}
    for field in _CONTAINER_LISTS:
        if field in found:
            found[field] = [{**container, "image": ""} for container in found[field]]
    return found
