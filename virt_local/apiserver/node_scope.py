"""What a node's agent may touch: its own Node, the machines bound to it, and what these refer to.

Roles can't say "of this node"; Kubernetes has a node authorizer and an admission plugin for it, we have this. An agent
is `virt-handler` with the group `system:node:NAME`; its certificate carries both. `authz.py` asks after the role has
said yes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from virt_kube.admission import UserInfo
from virt_kube.api import Json
from virt_kube.roles import READ
from virt_local.apiserver.rbac import Attributes
from virt_local.apiserver.roles import MASTERS
from virt_local.store import Key, Store
from virt_types import labels

PREFIX = "system:node:"
VMIS = "kubevirt.io/virtualmachineinstances"
VMI = "virtualmachineinstances"
# Own things bear the node's name.
_NAMED_AS_NODE = frozenset({("", "nodes"), ("coordination.k8s.io", "leases")})
# Where in a machine's specification which kind is named (k8s field -> resource).
_REFERENCES = {
    "secretName": "secrets",
    "secretRef": "secrets",
    "networkDataSecretRef": "secrets",
    "imagePullSecret": "secrets",
    "secret": "secrets",
    "configMap": "configmaps",
    "serviceAccountName": "serviceaccounts",
}


class _Meta(msgspec.Struct):
    labels: dict[str, str] = {}


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""


class _Machine(msgspec.Struct):
    metadata: _Meta
    status: _Status = _Status()


_decoder = msgspec.json.Decoder(_Machine)


class NodeScope:
    def __init__(self, store: Store) -> None:
        self._store = store

    def objection(self, user: UserInfo, asked: Attributes) -> str:
        """Why a node agent may not do this; empty for everybody else, and for what is its own."""
        if user.name != labels.HANDLER_USER or MASTERS in user.groups:
            return ""
        nodes = [group.removeprefix(PREFIX) for group in user.groups if group.startswith(PREFIX)]
        if not nodes:
            return "" if asked.verb in READ and asked.resource not in _REFERENCES.values() else "no node identified"
        node = nodes[0]
        if asked.verb in READ:
            return "" if asked.resource not in _REFERENCES.values() else self._unrelated(node, asked)
        if (asked.group, asked.resource) in _NAMED_AS_NODE and asked.name and asked.name != node:
            return f'node "{node}" is not allowed to modify {asked.resource[:-1]} "{asked.name}"'
        if asked.resource == VMI and asked.name and not self._bound(node, asked.namespace, asked.name):
            return f'node "{node}" is only allowed to modify machines bound to it'
        return ""

    def content_objection(self, user: UserInfo, asked: Attributes, obj: Json) -> str:
        """As `objection`, for what only the body of a create says."""
        if asked.verb != "create":
            return ""
        name = str((obj.get("metadata") or {}).get("name", ""))
        if (asked.group, asked.resource) in _NAMED_AS_NODE:
            return self.objection(user, asked._replace(verb="update", name=name))
        about = obj.get("involvedObject") or obj.get("regarding") or {}
        if asked.resource == "events" and about.get("kind") == "VirtualMachineInstance":
            namespace, name = str(about.get("namespace", "")), str(about.get("name", ""))
            if self._store.get(Key(VMIS, namespace, name)) is None:
                return ""  # the last words about one that is gone
            return self.objection(user, Attributes("update", "kubevirt.io", VMI, "", namespace, name))
        return ""

    def _bound(self, node: str, namespace: str, name: str) -> bool:
        record = self._store.get(Key(VMIS, namespace, name))
        return record is None or node in _nodes(record.value)  # a missing one is a 404 to everybody

    def _unrelated(self, node: str, asked: Attributes) -> str:
        if asked.verb == "get" and any(
            (asked.resource, asked.name) in set(_named(msgspec.json.decode(record.value).get("spec")))
            for _, record in self._store.objects(VMIS, asked.namespace)
            if asked.name.encode() in record.value and node in _nodes(record.value)
        ):
            return ""
        return f'no relationship found between node "{node}" and this object'


def _nodes(value: bytes) -> tuple[str, ...]:
    """The nodes a machine runs on, is placed on, or moves to."""
    found = _decoder.decode(value)
    target = found.metadata.labels.get(labels.MIGRATION_TARGET_NODE_NAME, "")
    return tuple(name for name in (found.status.node_name, target) if name)


def _named(value: Any, resource: str = "") -> Iterator[tuple[str, str]]:
    """Every (resource, name) a specification refers to."""
    if isinstance(value, dict):
        if resource and isinstance(value.get("name"), str):
            yield resource, value["name"]
        for key, child in value.items():
            yield from _named(child, _REFERENCES.get(key, ""))
    elif isinstance(value, list):
        for child in value:
            yield from _named(child)
    elif isinstance(value, str) and resource:
        yield resource, value
