"""Which guests are behind a Service and where it listens, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from virt_local.endpoints import Guest, Listen, Service, plan, subsets
from virt_local.forward import Backend
from virt_types import codec


def service(**spec: Any) -> Service:
    base = {"clusterIP": "127.96.0.9", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    meta = {"name": "web", "namespace": "default"}
    return codec.from_builtins({"metadata": meta, "spec": base | spec}, Service)


def guest(
    name: str = "a", *, address: str = "10.0.0.1", ready: str = "True", phase: str = "Running", **meta: Any
) -> Guest:
    ports = [{"name": "http", "port": 8888}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    return codec.from_builtins(
        {
            "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": {"app": "web"}} | meta,
            "spec": {"domain": {"devices": {"interfaces": [{"name": "default", "ports": ports}]}}},
            "status": {
                "phase": phase,
                "nodeName": "n1",
                "interfaces": [{"ipAddress": address}],
                "conditions": [{"type": "Ready", "status": ready}],
            },
        },
        Guest,
    )


CLUSTER = Listen("127.96.0.9", 80, "TCP")
FIRST = Backend("uid-a", "10.0.0.1", 8080)


@pytest.mark.parametrize(
    ("why", "spec", "guests", "expected"),
    [
        ("a ready guest", {}, [guest()], {CLUSTER: (FIRST,)}),
        ("guests by name", {}, [guest("b", address="10.0.0.2"), guest()], {
            CLUSTER: (FIRST, Backend("uid-b", "10.0.0.2", 8080))
        }),
        ("nobody: nothing listens", {}, [], {}),
        ("another namespace", {}, [guest(namespace="other")], {}),
        ("other labels", {}, [guest(labels={"app": "db"})], {}),
        ("no selector selects nobody", {"selector": {}}, [guest()], {}),
        ("not ready", {}, [guest(ready="False")], {}),
        ("not ready, but asked for", {"publishNotReadyAddresses": True}, [guest(ready="False")], {CLUSTER: (FIRST,)}),
        ("on its way out", {}, [guest(deletionTimestamp="2026-01-01T00:00:00Z")], {}),
        ("ended", {}, [guest(phase="Succeeded")], {}),
        ("no address yet", {}, [guest(address="")], {}),
        ("headless", {"clusterIP": "None"}, [guest()], {}),
        (
            "node port",
            {"ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]},
            [guest()],
            {CLUSTER: (FIRST,), Listen("127.0.0.1", 30080, "TCP"): (FIRST,)},
        ),
        ("a port's name", {"ports": [{"port": 80, "targetPort": "http"}]}, [guest()], {
            CLUSTER: (Backend("uid-a", "10.0.0.1", 8888),)
        }),
        ("a name of the other protocol", {"ports": [{"port": 80, "targetPort": "dns"}]}, [guest()], {}),
        ("UDP", {"ports": [{"port": 53, "targetPort": "dns", "protocol": "UDP"}]}, [guest()], {
            Listen("127.96.0.9", 53, "UDP"): (Backend("uid-a", "10.0.0.1", 53),)
        }),
        ("the port itself", {"ports": [{"port": 80}]}, [guest()], {CLUSTER: (Backend("uid-a", "10.0.0.1", 80),)}),
    ],
)  # fmt: skip
def test_plan(why: str, spec: dict[str, Any], guests: list[Guest], expected: dict[Listen, Any]) -> None:
    assert plan([service(**spec)], guests) == expected, why


def test_endpoints_tell_ready_from_not_ready() -> None:
    found = subsets(service(), [guest(), guest("b", address="10.0.0.2", ready="False")])
    about = {"kind": "VirtualMachineInstance", "namespace": "default"}
    assert found == [
        {
            "ports": [{"port": 8080, "protocol": "TCP"}],
            "addresses": [
                {"ip": "10.0.0.1", "nodeName": "n1", "targetRef": about | {"name": "a", "uid": "uid-a"}},
            ],
            "notReadyAddresses": [
                {"ip": "10.0.0.2", "nodeName": "n1", "targetRef": about | {"name": "b", "uid": "uid-b"}},
            ],
        }
    ]
