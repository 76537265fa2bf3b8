"""What `kubectl get` shows of built-in kinds, compared once with a real server's printers by thousands of objects."""

from __future__ import annotations

from typing import Any

import pytest

from virt_local.apiserver.builtins import BUILTINS
from virt_local.apiserver.columns import builtin_cells, builtin_columns
from virt_local.apiserver.registry import Column, ResourceType, Version
from virt_local.apiserver.tables import _cell

Json = dict[str, Any]
ENDED = {"terminated": {"exitCode": 0, "reason": "Completed"}}
FAILED = {"terminated": {"exitCode": 3}}
RUNS = {"running": {}}


def shown(resource: tuple[str, str], obj: Json) -> dict[str, Any]:
    kind = BUILTINS[resource]
    whole = {"metadata": {"name": "x"} | obj.pop("metadata", {}), **obj}
    return dict(zip((column.name for column in builtin_columns(kind)), builtin_cells(kind, whole), strict=True))


def container(name: str, state: Json, **more: Any) -> Json:
    return {"name": name, "state": state, "ready": False, "restartCount": 0, **more}


def pod(main: list[Json], first: tuple[Json, ...] = (), *, phase: str = "Running", **status: Any) -> Json:
    begin = [{"name": found["name"], **found.pop("spec", {})} for found in first]
    spec = {"containers": [{"name": found["name"]} for found in main], "initContainers": begin}
    return {
        "spec": spec,
        "status": {"phase": phase, "containerStatuses": main, "initContainerStatuses": list(first), **status},
    }


ALWAYS = {"spec": {"restartPolicy": "Always"}}


@pytest.mark.parametrize(
    ("obj", "ready", "status"),
    [
        (pod([container("a", RUNS, ready=True)]), "1/1", "Running"),
        (pod([], phase="Pending"), "0/0", "Pending"),
        (pod([container("a", {"waiting": {"reason": "CrashLoopBackOff"}})]), "0/1", "CrashLoopBackOff"),
        (pod([container("a", ENDED)], phase="Succeeded"), "0/1", "Completed"),
        (pod([container("a", ENDED), container("b", FAILED)]), "0/2", "ExitCode:3"),
        (pod([container("a", ENDED), container("b", RUNS, ready=True)]), "1/2", "NotReady"),
        (
            pod(
                [container("a", ENDED), container("b", RUNS, ready=True)],
                conditions=[{"type": "Ready", "status": "True"}],
            ),
            "1/2",
            "Running",
        ),
        (pod([container("a", {})], (container("i", RUNS), container("j", {})), phase="Pending"), "0/1", "Init:0/2"),
        (pod([container("a", {})], (container("i", ENDED), container("j", FAILED))), "0/1", "Init:ExitCode:3"),
        (
            pod([container("a", RUNS, ready=True)], (container("s", RUNS, ready=True, started=True, **ALWAYS),)),
            "2/2",
            "Running",
        ),
        (pod([], phase="Failed", reason="Evicted"), "0/0", "Evicted"),
        (pod([container("a", RUNS, ready=True)]) | {"metadata": {"deletionTimestamp": "t"}}, "1/1", "Terminating"),
        (
            pod([container("a", ENDED)], phase="Succeeded") | {"metadata": {"deletionTimestamp": "t"}},
            "0/1",
            "Completed",
        ),
        (pod([], reason="NodeLost") | {"metadata": {"deletionTimestamp": "t"}}, "0/0", "Unknown"),
    ],
)
def test_a_pods_state_is_one_word(obj: Json, ready: str, status: str) -> None:
    found = shown(("", "pods"), obj)
    assert (found["Ready"], found["Status"]) == (ready, status)


def test_a_pods_restarts_and_gates() -> None:
    ended = {"lastState": {"terminated": {"finishedAt": "2000-01-01T00:00:00Z"}}}
    obj = pod([container("a", RUNS, restartCount=2, **ended)], conditions=[{"type": "e/a", "status": "True"}])
    obj["spec"]["readinessGates"] = [{"conditionType": "e/a"}, {"conditionType": "e/b"}]
    found = shown(("", "pods"), obj)
    assert found["Restarts"].startswith("2 (")
    assert found["Restarts"].endswith(" ago)")
    assert found["Readiness Gates"] == "1/2"


@pytest.mark.parametrize(
    ("resource", "obj", "column", "cell"),
    [
        (
            "nodes",
            {"metadata": {"labels": {"kubernetes.io/role": "b", "node-role.kubernetes.io/a": ""}}},
            "Roles",
            "a,b",
        ),
        (
            "nodes",
            {"status": {"nodeInfo": {"kernelVersion": "6.1", "architecture": "amd64"}}},
            "Kernel-Version",
            "6.1 (amd64)",
        ),
        (
            "services",
            {
                "spec": {"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]},
                "status": {"loadBalancer": {"ingress": [{"hostname": "h"}, {"ip": "1.1.1.1"}]}},
            },
            "External-IP",
            "1.1.1.1,h,9.9.9.9",
        ),
        ("services", {"spec": {"type": "LoadBalancer"}}, "External-IP", "<pending>"),
        ("services", {"spec": {"type": "ExternalName", "externalName": "e.com"}}, "Cluster-IP", "<none>"),
        ("persistentvolumeclaims", {"spec": {}, "status": {"capacity": {"storage": "1Gi"}}}, "Capacity", ""),
        (
            "persistentvolumeclaims",
            {"spec": {"volumeName": "v"}, "status": {"accessModes": ["ReadWriteMany", "ReadWriteOnce"]}},
            "Access Modes",
            "RWO,RWX",
        ),
        (
            "persistentvolumes",
            {
                "metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "old"}},
                "spec": {"storageClassName": "new"},
            },
            "StorageClass",
            "old",
        ),
        (
            "endpoints",
            {"subsets": [{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}]}]},
            "Endpoints",
            "[fd00::1]:80",
        ),
        ("endpoints", {"subsets": [{"notReadyAddresses": [{"ip": "1.1.1.1"}]}]}, "Endpoints", ""),
        ("events", {"source": {}, "reportingComponent": "c", "reportingInstance": "i"}, "Source", "c, i"),
        ("events", {"involvedObject": {"kind": "Pod"}}, "Object", "pod"),
        ("events", {}, "Last Seen", "<unknown>"),
        ("events", {"series": {"count": 7}, "count": 2}, "Count", 7),
    ],
)
def test_cells(resource: str, obj: Json, column: str, cell: Any) -> None:
    assert shown(("", resource), obj)[column] == cell


@pytest.mark.parametrize(
    ("type_", "value", "cell"),
    [
        ("string", ["x", "y"], '["x","y"]'),
        ("string", True, "true"),
        ("integer", 2.9, 2),
        ("integer", "2", None),
        ("integer", True, None),
        ("number", 2, 2),
        ("boolean", 1, None),
        ("date", 5, None),
        ("date", "yesterday", "<invalid>"),
    ],
)
def test_a_printer_column_shows_values_of_its_type(type_: str, value: Any, cell: Any) -> None:
    assert _cell(Column("c", type_, ".v"), {"v": value}) == cell


def test_a_printer_column_shows_the_first_of_many() -> None:
    assert _cell(Column("c", "string", ".v[*]"), {"v": ["x", "y"]}) == "x"


def test_kinds_there_are_none_of_can_be_looked_at_only() -> None:
    looked_at: list[ResourceType] = [found for found in BUILTINS.values() if "create" not in found.verbs]
    assert {found.kind for found in looked_at} >= {"Deployment", "ResourceQuota", "Job"}
    assert all(found.verbs == ("delete", "get", "list", "watch") and not found.categories for found in looked_at)
    assert all(isinstance(found.storage, Version) and found.storage.schema() is not None for found in looked_at)
