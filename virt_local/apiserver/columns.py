"""The columns `kubectl get` shows for built-in kinds, as a real server's printers choose them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from virt_kube.api import Json
from virt_local.apiserver import pod_columns
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

_DESCRIPTIONS = {"Created At": _CREATED_TEXT, "Age": _CREATED_TEXT}

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
    roles = {key.removeprefix(prefix) for key in labels if key.startswith(prefix)} | {
        labels.get("kubernetes.io/role", "")
    }
    return ",".join(sorted(roles - {""})) or "<none>"


def _node_kernel(obj: Json) -> str:
    info = (obj.get("status") or {}).get("nodeInfo") or {}
    kernel = info.get("kernelVersion") or "<unknown>"
    return f"{kernel} ({info['architecture']})" if info.get("architecture") else kernel


def _node_address(kind: str) -> Cell:
    def find(obj: Json) -> str:
        addresses = (obj.get("status") or {}).get("addresses") or []
        return next((found["address"] for found in addresses if found.get("type") == kind), "<none>")

    return find


def _external_ip(obj: Json) -> str:
    spec = obj.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName") or "")
    ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    given = sorted({item.get("ip") or item.get("hostname") or "" for item in ingress} - {""})
    balanced = spec.get("type") == "LoadBalancer"
    found = (given if balanced else []) + list(spec.get("externalIPs") or [])
    return ",".join(found) or ("<pending>" if balanced else "<none>")


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
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def _modes(part: str) -> Cell:
    def find(obj: Json) -> str:
        modes = (obj.get(part) or {}).get("accessModes") or []
        return ",".join(short for mode, short in _MODES.items() if mode in modes)

    return find


def _if_bound(cell: Cell) -> Cell:
    """What a claim has only from its volume."""
    return lambda obj: cell(obj) if (obj.get("spec") or {}).get("volumeName") else ""


def _storage_class(obj: Json) -> str:
    annotations = obj["metadata"].get("annotations") or {}
    return str(annotations.get(_CLASS_ANNOTATION, (obj.get("spec") or {}).get("storageClassName") or ""))


def _claim_status(obj: Json) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str((obj.get("status") or {}).get("phase", ""))


def _claim_ref(obj: Json) -> str:
    ref = (obj.get("spec") or {}).get("claimRef")
    return f"{ref.get('namespace')}/{ref.get('name')}" if ref else ""


def _event_object(obj: Json) -> str:
    involved = obj.get("involvedObject") or {}
    kind, name = str(involved.get("kind", "")).lower(), involved.get("name")
    return f"{kind}/{name}" if name else kind


def _event_first(obj: Json) -> str:
    return age(obj.get("firstTimestamp") or obj.get("eventTime"))


def _event_last(obj: Json) -> str:
    if (series := obj.get("series")) is not None:
        return age(series.get("lastObservedTime"))
    return age(obj["lastTimestamp"]) if obj.get("lastTimestamp") else _event_first(obj)


def _event_source(obj: Json) -> str:
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent") or ""
    instance = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {instance}" if instance else component


def _event_count(obj: Json) -> int:
    if (series := obj.get("series")) is not None:
        return int(series.get("count") or 0)
    return int(obj.get("count") or 1)


def _first_three(found: list[str], otherwise: str = "") -> str:
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more or otherwise


def _endpoints(obj: Json) -> str:
    subsets = obj.get("subsets") or []
    found: list[str] = []
    for subset in subsets:
        addresses = [address["ip"] for address in subset.get("addresses") or []]
        hosts = [f"[{address}]" if ":" in address else address for address in addresses]
        ports = subset.get("ports") or []
        found += [f"{host}:{port['port']}" for port in ports for host in hosts] if ports else addresses
    return _first_three(found) if subsets else "<none>"


def _slice_endpoints(obj: Json) -> str:
    return _first_three(
        [address for endpoint in obj.get("endpoints") or [] for address in endpoint.get("addresses") or []], "<unset>"
    )


def _slice_ports(obj: Json) -> str:
    return _first_three([str(port.get("port") or port.get("name", "*")) for port in obj.get("ports") or []], "<unset>")


def _default_class(obj: Json) -> str:
    annotations = obj["metadata"].get("annotations") or {}
    default = "true" in (
        annotations.get(f"storageclass.{part}kubernetes.io/is-default-class") for part in ("", "beta.")
    )
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
        ("Cluster-IP", "string", 0, _at(".spec.clusterIPs[0]", "<none>")),
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
        ("Kernel-Version", "string", 1, _node_kernel),
        ("Container-Runtime", "string", 1, _at(".status.nodeInfo.containerRuntimeVersion", "<unknown>")),
    ),
    "/persistentvolumeclaims": (
        ("Status", "string", 0, _claim_status),
        ("Volume", "string", 0, _at(".spec.volumeName")),
        ("Capacity", "string", 0, _if_bound(_at(".status.capacity.storage", "0"))),
        ("Access Modes", "string", 0, _if_bound(_modes("status"))),
        ("StorageClass", "string", 0, _storage_class),
        ("VolumeAttributesClass", "string", 0, _at(".spec.volumeAttributesClassName", "<unset>")),
        _AGE,
        ("VolumeMode", "string", 1, _at(".spec.volumeMode", "<unset>")),
    ),
    "/persistentvolumes": (
        ("Capacity", "string", 0, _at(".spec.capacity.storage", "0")),
        ("Access Modes", "string", 0, _modes("spec")),
        ("Reclaim Policy", "string", 0, _at(".spec.persistentVolumeReclaimPolicy")),
        ("Status", "string", 0, _claim_status),
        ("Claim", "string", 0, _claim_ref),
        ("StorageClass", "string", 0, _storage_class),
        ("VolumeAttributesClass", "string", 0, _at(".spec.volumeAttributesClassName", "<unset>")),
        ("Reason", "string", 0, _at(".status.reason")),
        _AGE,
        ("VolumeMode", "string", 1, _at(".spec.volumeMode", "<unset>")),
    ),
    "/pods": (
        ("Ready", "string", 0, pod_columns.ready),
        ("Status", "string", 0, pod_columns.state),
        ("Restarts", "string", 0, pod_columns.restarts),
        _AGE,
        ("IP", "string", 1, pod_columns.address),
        ("Node", "string", 1, _at(".spec.nodeName", "<none>")),
        ("Nominated Node", "string", 1, _at(".status.nominatedNodeName", "<none>")),
        ("Readiness Gates", "string", 1, pod_columns.gates),
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
    ("Last Seen", "string", 0, _event_last),
    ("Type", "string", 0, _at(".type")),
    ("Reason", "string", 0, _at(".reason")),
    ("Object", "string", 0, _event_object),
    ("Subobject", "string", 1, _at(".involvedObject.fieldPath")),
    ("Source", "string", 1, _event_source),
    ("Message", "string", 0, lambda obj: str(obj.get("message", "")).strip()),
    ("First Seen", "string", 1, _event_first),
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
