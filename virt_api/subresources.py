"""What `subresources.kubevirt.io` answers to, by name: the one table that routes, discovery and access rules agree on.

Pure data. `virt_api.discovery` and the API server of `virt_local` tell clients of it; tests hold the routes to it.
"""

from __future__ import annotations

from virt_kube.api import Json
from virt_types import labels

GROUP = labels.SUBRESOURCE_GROUP
VERSIONS = ("v1", "v1alpha3")
MACHINES, INSTANCES = "virtualmachines", "virtualmachineinstances"

READS: dict[str, tuple[str, ...]] = {
    MACHINES: ("expand-spec", "objectgraph", "portforward"),
    INSTANCES: (
        "console",
        "filesystemlist",
        "guestosinfo",
        "objectgraph",
        "portforward",
        "sev/fetchcertchain",
        "sev/querylaunchmeasurement",
        "usbredir",
        "userlist",
        "vnc",
        "vnc/screenshot",
        "vsock",
    ),
}
UPDATES: dict[str, tuple[str, ...]] = {
    MACHINES: (
        "addvolume",
        "evacuate/cancel",
        "memorydump",
        "migrate",
        "removememorydump",
        "removevolume",
        "restart",
        "start",
        "stop",
    ),
    INSTANCES: (
        "addvolume",
        "backup",
        "evacuate/cancel",
        "freeze",
        "pause",
        "redefine-checkpoint",
        "removevolume",
        "reset",
        "sev/injectlaunchsecret",
        "sev/setupsession",
        "softreboot",
        "unfreeze",
        "unpause",
    ),
}
# Of a namespace, without an object.
NAMESPACED_UPDATES = ("expand-vm-spec",)


def resource_list(version: str) -> Json:
    """The APIResourceList of one version."""
    entries = [_entry(name, "update") for name in NAMESPACED_UPDATES]
    for verb, table in (("get", READS), ("update", UPDATES)):
        entries += [_entry(f"{kind}/{name}", verb) for kind, names in table.items() for name in names]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{version}",
        "resources": sorted(entries, key=lambda entry: str(entry["name"])),
    }


def _entry(name: str, verb: str) -> Json:
    return {"name": name, "singularName": "", "namespaced": True, "kind": "", "verbs": [verb]}
