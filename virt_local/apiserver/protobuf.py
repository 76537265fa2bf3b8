"""Protobuf request bodies: kubectl 1.32 and typed Go clients send them for built-in kinds and do not fall back.

Field numbers are those of k8s.io/api/*/generated.proto. Go's encoder writes zero values of plain fields, which JSON
leaves out; only fields that are pointers in Go (marked `?`) keep theirs.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from virt_kube.api import Json
from virt_local.apiserver.status import bad_request, unsupported_media_type

MAGIC = b"k8s\0"

# One line a field: number, JSON name, type. Types: s(tring) i(nteger) b(ool) y(bytes) m(ap of strings) M(ap of bytes)
# T(ime) U (microtime) X (int or string), or a message; `*` repeated, `?` pointer.
_MESSAGES = {
    "ObjectMeta": """1 name s, 2 generateName s, 3 namespace s, 5 uid s, 6 resourceVersion s, 7 generation i,
        8 creationTimestamp T, 9 deletionTimestamp T, 10 deletionGracePeriodSeconds i?, 11 labels m, 12 annotations m,
        13 ownerReferences *OwnerReference, 14 finalizers *s""",
    "OwnerReference": "1 kind s, 3 name s, 4 uid s, 5 apiVersion s, 6 controller b?, 7 blockOwnerDeletion b?",
    "ObjectReference": """1 kind s, 2 namespace s, 3 name s, 4 uid s, 5 apiVersion s, 6 resourceVersion s,
        7 fieldPath s""",
    "LocalObjectReference": "1 name s",
    "Namespace": "1 metadata ObjectMeta, 2 spec NamespaceSpec",
    "NamespaceSpec": "1 finalizers *s",
    "ConfigMap": "1 metadata ObjectMeta, 2 data m, 3 binaryData M, 4 immutable b?",
    "Secret": "1 metadata ObjectMeta, 2 data M, 3 type s, 4 stringData m, 5 immutable b?",
    "ServiceAccount": """1 metadata ObjectMeta, 2 secrets *ObjectReference, 3 imagePullSecrets *LocalObjectReference,
        4 automountServiceAccountToken b?""",
    "Service": "1 metadata ObjectMeta, 2 spec ServiceSpec",
    "ServiceSpec": """1 ports *ServicePort, 2 selector m, 3 clusterIP s, 4 type s, 5 externalIPs *s,
        7 sessionAffinity s, 8 loadBalancerIP s, 9 loadBalancerSourceRanges *s, 10 externalName s,
        11 externalTrafficPolicy s, 12 healthCheckNodePort i, 13 publishNotReadyAddresses b, 17 ipFamilyPolicy s,
        18 clusterIPs *s, 19 ipFamilies *s, 20 allocateLoadBalancerNodePorts b?, 21 loadBalancerClass s,
        22 internalTrafficPolicy s""",
    "ServicePort": "1 name s, 2 protocol s, 3 port i, 4 targetPort X, 5 nodePort i, 6 appProtocol s",
    "Event": """1 metadata ObjectMeta, 2 involvedObject ObjectReference, 3 reason s, 4 message s, 5 source EventSource,
        6 firstTimestamp T, 7 lastTimestamp T, 8 count i, 9 type s, 10 eventTime U, 11 series EventSeries, 12 action s,
        13 related ObjectReference, 14 reportingComponent s, 15 reportingInstance s""",
    "EventSource": "1 component s, 2 host s",
    "EventSeries": "1 count i, 2 lastObservedTime U",
    "Lease": "1 metadata ObjectMeta, 2 spec LeaseSpec",
    "LeaseSpec": """1 holderIdentity s, 2 leaseDurationSeconds i?, 3 acquireTime U, 4 renewTime U,
        5 leaseTransitions i?""",
    "SelfSubjectReview": "1 metadata ObjectMeta",
    "SelfSubjectAccessReview": "1 metadata ObjectMeta, 2 spec AccessSpec",
    "SubjectAccessReview": "1 metadata ObjectMeta, 2 spec SubjectSpec",
    "SelfSubjectRulesReview": "1 metadata ObjectMeta, 2 spec RulesSpec",
    "AccessSpec": "1 resourceAttributes ResourceAttributes, 2 nonResourceAttributes NonResourceAttributes",
    "SubjectSpec": """1 resourceAttributes ResourceAttributes, 2 nonResourceAttributes NonResourceAttributes, 3 user s,
        4 groups *s, 6 uid s""",
    "RulesSpec": "1 namespace s",
    "ResourceAttributes": "1 namespace s, 2 verb s, 3 group s, 4 version s, 5 resource s, 6 subresource s, 7 name s",
    "NonResourceAttributes": "1 path s, 2 verb s",
    "LocalSubjectAccessReview": "1 metadata ObjectMeta, 2 spec SubjectSpec",
    "TokenReview": "1 metadata ObjectMeta, 2 spec TokenReviewSpec",
    "TokenReviewSpec": "1 token s, 2 audiences *s",
    "TokenRequest": "1 metadata ObjectMeta, 2 spec TokenRequestSpec",
    "TokenRequestSpec": "1 audiences *s, 3 boundObjectRef BoundObject, 4 expirationSeconds i?",
    "BoundObject": "1 kind s, 2 apiVersion s, 3 name s, 4 uid s",
    "Role": "1 metadata ObjectMeta, 2 rules *PolicyRule",
    "ClusterRole": "1 metadata ObjectMeta, 2 rules *PolicyRule, 3 aggregationRule AggregationRule",
    "PolicyRule": "1 verbs *s, 2 apiGroups *s, 3 resources *s, 4 resourceNames *s, 5 nonResourceURLs *s",
    "AggregationRule": "1 clusterRoleSelectors *LabelSelector",
    "LabelSelector": "1 matchLabels m, 2 matchExpressions *LabelSelectorRequirement",
    "LabelSelectorRequirement": "1 key s, 2 operator s, 3 values *s",
    "RoleBinding": "1 metadata ObjectMeta, 2 subjects *Subject, 3 roleRef RoleRef",
    "ClusterRoleBinding": "1 metadata ObjectMeta, 2 subjects *Subject, 3 roleRef RoleRef",
    "Subject": "1 kind s, 2 apiGroup s, 3 name s, 4 namespace s",
    "RoleRef": "1 apiGroup s, 2 kind s, 3 name s",
    "DeleteOptions": """1 gracePeriodSeconds i?, 2 preconditions Preconditions, 3 orphanDependents b?,
        4 propagationPolicy s, 5 dryRun *s""",
    "Preconditions": "1 uid s, 2 resourceVersion s",
}
# Kinds whose body may be decoded; Event only in the core group, where the fields are these.
KINDS = frozenset(
    ("ClusterRole", "ClusterRoleBinding", "ConfigMap", "DeleteOptions", "Event", "Lease", "LocalSubjectAccessReview",
     "Namespace", "Role", "RoleBinding", "Secret", "SelfSubjectAccessReview", "SelfSubjectReview",
     "SelfSubjectRulesReview", "Service", "ServiceAccount", "SubjectAccessReview", "TokenRequest", "TokenReview")
)  # fmt: skip


class _Field(NamedTuple):
    name: str
    type: str
    repeated: bool
    pointer: bool


def _fields(text: str) -> dict[int, _Field]:
    found = {}
    for entry in text.split(","):
        number, name, kind = entry.split()
        found[int(number)] = _Field(name, kind.strip("*?"), kind[0] == "*", kind[-1] == "?")
    return found


_SCHEMAS: Mapping[str, dict[int, _Field]] = {name: _fields(text) for name, text in _MESSAGES.items()}


class _TruncatedError(Exception):
    """The message ends in the middle of a field, or has a wire type nobody uses."""


def decode(body: bytes, kind: str) -> Json:
    """The object in a `k8s\\0` envelope. 400 for what is none, 415 for kinds this table does not know."""
    if not body.startswith(MAGIC):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): provided data does not appear to be a "
            "protobuf message, expected prefix [107 56 115 0]"
        )
    try:
        envelope = dict(_wire(body[len(MAGIC) :]))
        about = {number: value.decode() for number, value in _wire(envelope.get(1, b""))}
        found, raw = about.get(2, "") or kind, envelope.get(2, b"")
        if found not in KINDS or about.get(1, "").startswith("events.k8s.io"):
            raise unsupported_media_type(f"this server does not read protobuf bodies of {found}: send application/json")
        obj = _message(raw, found)
    except (_TruncatedError, ValueError, OverflowError, OSError, AttributeError, TypeError) as error:
        raise bad_request(f"the object provided is unrecognized (must be of type {kind}): {error}") from None
    return {"apiVersion": about.get(1, ""), "kind": found, **obj}


def _wire(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers with their values: int for varints, bytes for the rest."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        match tag & 7:
            case 0:
                value, position = _varint(data, position)
                yield tag >> 3, value
            case 2:
                size, position = _varint(data, position)
                if position + size > len(data):
                    raise _TruncatedError("unexpected EOF")
                yield tag >> 3, data[position : position + size]
                position += size
            case 1 | 5 as width:
                position += 8 if width == 1 else 4
            case _:
                raise _TruncatedError(f"proto: illegal wireType {tag & 7}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise _TruncatedError("unexpected EOF")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        shift += 7
        if byte < 0x80:
            return value, position


def _message(data: bytes, name: str) -> Json:
    schema = _SCHEMAS[name]
    found: Json = {}
    for number, value in _wire(data):
        field = schema.get(number)
        if field is None:
            continue
        decoded = _value(value, field.type)
        if field.repeated:
            found.setdefault(field.name, []).append(decoded)
        elif field.type in ("m", "M"):
            found.setdefault(field.name, {}).update(decoded)
        elif field.pointer or decoded not in ("", 0, False, None, {}):
            found[field.name] = decoded
    return found


def _value(value: Any, kind: str) -> Any:  # noqa: PLR0911  one line for each type
    match kind:
        case "s":
            return value.decode()
        case "i":
            return value - (1 << 64) if value >= 1 << 63 else value
        case "b":
            return bool(value)
        case "y":
            return base64.b64encode(value).decode()
        case "m" | "M":
            entry = dict(_wire(value))
            return {entry.get(1, b"").decode(): _value(entry.get(2, b""), "s" if kind == "m" else "y")}
        case "T" | "U":
            return _time(dict(_wire(value)), micro=kind == "U")
        case "X":
            entry = dict(_wire(value))
            return entry.get(3, b"").decode() if entry.get(1) else _value(entry.get(2, 0), "i")
    return _message(value, kind)


def _time(parts: dict[int, int], *, micro: bool) -> str | None:
    seconds = _value(parts.get(1, 0), "i")
    if not parts or seconds <= 0:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    fraction = f".{parts.get(2, 0) // 1000:06d}" if micro else ""
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"
