"""The columns `kubectl get` shows for built-in kinds, as a real server's printers choose them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from virt_kube.api import Json
from virt_local.apiserver.ages import age
from virt_local.apiserver.jsonpath import compile_path
from virt_local.apiserver.registry import Column, ResourceType

_NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
_CREATED_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
NAME = Column("Name", "string", ".metadata.name", format="name", description=_NAME_TEXT)
CREATED = Column("Age", "date", ".metadata.creationTimestamp", description=_CREATED_TEXT)

_DESCRIPTIONS = {"Created At": _CREATED_TEXT}

Cell = Callable[[Json], Any]
Printer = tuple[tuple[str, str, int, Cell], ...]  # column name, type, priority, cell


def _at(path: str, otherwise: Any = "") -> Cell:
    find = compile_path(path)
    return lambda obj: next((value for value in find(obj) if value not in (None, "")), otherwise)


def _age(obj: Json) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


def _size(*paths: str) -> Cell:
    finds = [compile_path(path) for path in paths]
    return lambda obj: sum(len(value) for find in finds for value in find(obj))


def _node_status(obj: Json) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or []
    ready = next((condition for condition in conditions if condition.get("type") == "Ready"), None)
    word = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return word + (",SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else "")


def _node_roles(obj: Json) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    return ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or "<none>"


def _node_address(kind: str) -> Cell:
    def find(obj: Json) -> str:
        addresses = (obj.get("status") or {}).get("addresses") or []
        return next((found["address"] for found in addresses if found.get("type") == kind), "<none>")

    return find


def _external_ip(obj: Json) -> str:
    spec = obj.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName") or "<none>")
    ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    found = [item.get("ip") or item.get("hostname") for item in ingress] + list(spec.get("externalIPs") or [])
    if found:
        return ",".join(found)
    return "<pending>" if spec.get("type") == "LoadBalancer" else "<none>"


def _port(port: Json) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}"


def _service_ports(obj: Json) -> str:
    ports = (obj.get("spec") or {}).get("ports") or []
    shown = [_port(port) for port in ports]
    return ",".join(shown) or "<none>"


def _selector(obj: Json) -> str:
    labels = (obj.get("spec") or {}).get("selector") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>"


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(part: str) -> Cell:
    return lambda obj: ",".join(_MODES.get(mode, mode) for mode in (obj.get(part) or {}).get("accessModes") or [])


def _claim_status(obj: Json) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str((obj.get("status") or {}).get("phase", ""))


def _claim_ref(obj: Json) -> str:
    ref = (obj.get("spec") or {}).get("claimRef")
    return f"{ref.get('namespace')}/{ref.get('name')}" if ref else ""


def _pod_ready(obj: Json) -> str:
    statuses = (obj.get("status") or {}).get("containerStatuses") or []
    total = len((obj.get("spec") or {}).get("containers") or [])
    return f"{sum(bool(status.get('ready')) for status in statuses)}/{total}"


def _pod_restarts(obj: Json) -> str:
    statuses = (obj.get("status") or {}).get("containerStatuses") or []
    return str(sum(status.get("restartCount", 0) for status in statuses))


def _pod_status(obj: Json) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = obj.get("status") or {}
    return str(status.get("reason") or status.get("phase", ""))


def _event_object(obj: Json) -> str:
    involved = obj.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _event_seen(key: str) -> Cell:
    def find(obj: Json) -> str:
        series = obj.get("series") or {}
        newest = series.get("lastObservedTime") if key == "lastTimestamp" else None
        stamp = newest or obj.get(key) or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")
        return age(stamp)

    return find


def _event_source(obj: Json) -> str:
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent") or ""
    return ", ".join(part for part in (component, source.get("host", "")) if part)


def _event_count(obj: Json) -> int:
    return int((obj.get("series") or {}).get("count") or obj.get("count") or 1)


def _endpoints(obj: Json) -> str:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or []
        for port in subset.get("ports") or []
        for address in subset.get("addresses") or []
    ]
    return ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "") or "<none>"


def _slice_endpoints(obj: Json) -> str:
    found = [address for endpoint in obj.get("endpoints") or [] for address in endpoint.get("addresses") or []]
    return ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "") or "<unset>"


def _slice_ports(obj: Json) -> str:
    return ",".join(str(port.get("port", "*")) for port in obj.get("ports") or []) or "<unset>"


def _default_class(obj: Json) -> str:
    annotations = obj["metadata"].get("annotations") or {}
    default = annotations.get("storageclass.kubernetes.io/is-default-class") == "true"
    return str(obj["metadata"]["name"]) + (" (default)" if default else "")


def _controller(obj: Json) -> str:
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            group = str(owner.get("apiVersion", "")).rpartition("/")[0]
            return f"{str(owner['kind']).lower()}{'.' + group if group else ''}/{owner['name']}"
    return "<none>"


def _role_ref(obj: Json) -> str:
    ref = obj.get("roleRef") or {}
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


def _subjects(kind: str) -> Cell:
    def find(obj: Json) -> str:
        found = [subject for subject in obj.get("subjects") or [] if subject.get("kind") == kind]
        return ", ".join(
            f"{subject.get('namespace', '')}/{subject['name']}" if kind == "ServiceAccount" else subject["name"]
            for subject in found
        )

    return find


_STATUS = ("Status", "string", 0, _at(".status.phase"))
_AGE = ("Age", "string", 0, _age)
_CREATED_AT = ("Created At", "date", 0, _at(".metadata.creationTimestamp"))
_BINDING = (
    ("Role", "string", 0, _role_ref),
    _AGE,
    ("Users", "string", 1, _subjects("User")),
    ("Groups", "string", 1, _subjects("Group")),
    ("ServiceAccounts", "string", 1, _subjects("ServiceAccount")),
)

_PRINTERS: Mapping[str, Printer] = {
    "/namespaces": (_STATUS, _AGE),
    "/configmaps": (("Data", "string", 0, _size(".data", ".binaryData")), _AGE),
    "/secrets": (("Type", "string", 0, _at(".type")), ("Data", "string", 0, _size(".data")), _AGE),
    "/serviceaccounts": (_AGE,),
    "/services": (
        ("Type", "string", 0, _at(".spec.type")),
        ("Cluster-IP", "string", 0, _at(".spec.clusterIP", "<none>")),
        ("External-IP", "string", 0, _external_ip),
        ("Port(s)", "string", 0, _service_ports),
        _AGE,
        ("Selector", "string", 1, _selector),
    ),
    "/endpoints": (("Endpoints", "string", 0, _endpoints), _AGE),
    "/nodes": (
        ("Status", "string", 0, _node_status),
        ("Roles", "string", 0, _node_roles),
        _AGE,
        ("Version", "string", 0, _at(".status.nodeInfo.kubeletVersion")),
        ("Internal-IP", "string", 1, _node_address("InternalIP")),
        ("External-IP", "string", 1, _node_address("ExternalIP")),
        ("OS-Image", "string", 1, _at(".status.nodeInfo.osImage", "<unknown>")),
        ("Kernel-Version", "string", 1, _at(".status.nodeInfo.kernelVersion", "<unknown>")),
        ("Container-Runtime", "string", 1, _at(".status.nodeInfo.containerRuntimeVersion", "<unknown>")),
    ),
    "/persistentvolumeclaims": (
        ("Status", "string", 0, _claim_status),
        ("Volume", "string", 0, _at(".spec.volumeName")),
        ("Capacity", "string", 0, _at(".status.capacity.storage")),
        ("Access Modes", "string", 0, _modes("status")),
        ("StorageClass", "string", 0, _at(".spec.storageClassName")),
        ("VolumeAttributesClass", "string", 0, _at(".spec.volumeAttributesClassName", "<unset>")),
        _AGE,
        ("VolumeMode", "string", 1, _at(".spec.volumeMode", "<unset>")),
    ),
    "/persistentvolumes": (
        ("Capacity", "string", 0, _at(".spec.capacity.storage")),
        ("Access Modes", "string", 0, _modes("spec")),
        ("Reclaim Policy", "string", 0, _at(".spec.persistentVolumeReclaimPolicy")),
        ("Status", "string", 0, _claim_status),
        ("Claim", "string", 0, _claim_ref),
        ("StorageClass", "string", 0, _at(".spec.storageClassName")),
        ("VolumeAttributesClass", "string", 0, _at(".spec.volumeAttributesClassName", "<unset>")),
        ("Reason", "string", 0, _at(".status.reason")),
        _AGE,
        ("VolumeMode", "string", 1, _at(".spec.volumeMode", "<unset>")),
    ),
    "/pods": (
        ("Ready", "string", 0, _pod_ready),
        ("Status", "string", 0, _pod_status),
        ("Restarts", "string", 0, _pod_restarts),
        _AGE,
        ("IP", "string", 1, _at(".status.podIP", "<none>")),
        ("Node", "string", 1, _at(".spec.nodeName", "<none>")),
        ("Nominated Node", "string", 1, _at(".status.nominatedNodeName", "<none>")),
        ("Readiness Gates", "string", 1, _at(".spec.readinessGates", "<none>")),
    ),
    "storage.k8s.io/storageclasses": (
        ("Provisioner", "string", 0, _at(".provisioner")),
        ("ReclaimPolicy", "string", 0, _at(".reclaimPolicy", "Delete")),
        ("VolumeBindingMode", "string", 0, _at(".volumeBindingMode", "Immediate")),
        ("AllowVolumeExpansion", "string", 0, _at(".allowVolumeExpansion", False)),
        _AGE,
    ),
    "coordination.k8s.io/leases": (("Holder", "string", 0, _at(".spec.holderIdentity")), _AGE),
    "discovery.k8s.io/endpointslices": (
        ("AddressType", "string", 0, _at(".addressType")),
        ("Ports", "string", 0, _slice_ports),
        ("Endpoints", "string", 0, _slice_endpoints),
        _AGE,
    ),
    "apps/controllerrevisions": (
        ("Controller", "string", 0, _controller),
        ("Revision", "string", 0, _at(".revision", 0)),
        _AGE,
    ),
    "apiextensions.k8s.io/customresourcedefinitions": (_CREATED_AT,),
    "rbac.authorization.k8s.io/roles": (_CREATED_AT,),
    "rbac.authorization.k8s.io/clusterroles": (_CREATED_AT,),
    "rbac.authorization.k8s.io/rolebindings": _BINDING,
    "rbac.authorization.k8s.io/clusterrolebindings": _BINDING,
}
_EVENTS: Printer = (
    ("Last Seen", "string", 0, _event_seen("lastTimestamp")),
    ("Type", "string", 0, _at(".type")),
    ("Reason", "string", 0, _at(".reason")),
    ("Object", "string", 0, _event_object),
    ("Subobject", "string", 1, _at(".involvedObject.fieldPath")),
    ("Source", "string", 1, _event_source),
    ("Message", "string", 0, lambda obj: str(obj.get("message", "")).strip()),
    ("First Seen", "string", 1, _event_seen("firstTimestamp")),
    ("Count", "string", 1, _event_count),
    ("Name", "string", 1, _at(".metadata.name")),
)


def builtin_columns(resource: ResourceType) -> tuple[Column, ...]:
    columns = tuple(
        Column(name, kind, "", priority, "name" if name == "Name" else "", description=_DESCRIPTIONS.get(name, name))
        for name, kind, priority, _ in _printer(resource)
    )
    return columns if resource.kind == "Event" else (NAME, *columns)


def builtin_cells(resource: ResourceType, obj: Json) -> list[Any]:
    cells = [cell(obj) for _, _, _, cell in _printer(resource)]
    if resource.kind == "Event":
        return cells
    name = _default_class(obj) if resource.kind == "StorageClass" else obj["metadata"]["name"]
    return [name, *cells]


def _printer(resource: ResourceType) -> Printer:
    return _EVENTS if resource.kind == "Event" else _PRINTERS.get(resource.stored_as, (_AGE,))
