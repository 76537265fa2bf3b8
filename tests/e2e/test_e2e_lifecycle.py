"""VirtualMachines from a user's chair: virtctl and the real kubectl against a guest that boots in seconds."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.e2e_cluster import EXAMPLES, NAMESPACE, Cluster, eventually

pytestmark = [pytest.mark.guest, pytest.mark.libvirt, pytest.mark.kubectl]


def qemu_pids(name: str) -> list[int]:
    """Processes of the guest's domain."""
    wanted = f"guest={NAMESPACE}_{name},".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if wanted in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def uid(cluster: Cluster, name: str) -> str:
    vmi = cluster.get("vmi", name)
    return vmi["metadata"]["uid"] if vmi else ""


def with_script(machine: str, script: str) -> str:
    """The machine with another cloud-init script."""
    vm = json.loads(machine)
    for volume in vm["spec"]["template"]["spec"]["volumes"]:
        if "cloudInitNoCloud" in volume:
            encoded = base64.b64encode(f"#!/bin/sh\n{script}\n".encode()).decode()
            volume["cloudInitNoCloud"] = {"userDataBase64": encoded}
    return json.dumps(vm)


def lone_instance(name: str, spec: dict[str, Any]) -> str:
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance"}
    return json.dumps({**kind, "metadata": {"name": name}, "spec": spec})


def test_document_walk(cluster: Cluster) -> None:
    """The documents' own sequence, spelling by spelling."""
    name = "vm-cirros"
    try:
        created = cluster.kubectl("create", "-f", str(EXAMPLES / "vm-cirros.yaml"), ok=False)
        if created.returncode:  # its apiVersion is older than this API server serves: virtctl converts it
            assert "no matches for kind" in created.stderr, created.stderr
            cluster.virtctl("apply", "-f", str(EXAMPLES / "vm-cirros.yaml"))
        assert cluster.kubectl("get", "vmis").stderr == f"No resources found in {NAMESPACE} namespace.\n"
        header, row = cluster.kubectl("get", "vm").stdout.splitlines()
        assert header.split() == ["NAME", "AGE", "STATUS", "READY"]
        assert row.split()[0] == name
        assert row.split()[2:] == ["Stopped", "False"]

        assert cluster.virtctl("start", "omv", name).stdout == f"VM {name} was scheduled to start\n"
        cluster.kubectl("wait", "--for=condition=Ready", f"vm/{name}", "--timeout=60s")
        header, row = cluster.kubectl("get", "vmi").stdout.splitlines()
        assert header.split() == ["NAME", "AGE", "PHASE", "IP", "NODENAME", "READY"]
        assert row.split()[2] == "Running"
        described = cluster.kubectl("describe", "vm", name).stdout
        assert "SuccessfulCreate" in described
        vm = cluster.get("vm", name)
        assert (vm["status"]["created"], vm["status"]["ready"]) == (True, True)

        cluster.kubectl("patch", "virtualmachine", name, "--type", "merge", "-p", '{"spec":{"running":false}}')
        cluster.wait_printable(name, "Stopped")
        assert cluster.get("vmi", name) is None
        assert qemu_pids(name) == []
    finally:
        cluster.kubectl("delete", "vm", name, "--ignore-not-found", "--wait=true")


def test_deleting_the_instance_restarts_it_with_the_same_identity(cluster: Cluster, vm: str) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=cluster.machine(vm, running=True))
    cluster.wait_printable(vm, "Running")
    before = cluster.get("vmi", vm)
    cluster.kubectl("delete", "virtualmachineinstance", vm)
    eventually(
        lambda: uid(cluster, vm) not in ("", before["metadata"]["uid"]), within=60, what="a new instance after delete"
    )
    cluster.wait_printable(vm, "Running")
    after = cluster.get("vmi", vm)
    domain = [instance["spec"]["domain"] for instance in (before, after)]
    assert domain[0]["firmware"]["uuid"] == domain[1]["firmware"]["uuid"]
    assert domain[0]["firmware"]["serial"] == domain[1]["firmware"]["serial"]
    macs = [each["devices"]["interfaces"][0]["macAddress"] for each in domain]
    assert macs[0] == macs[1]
    assert len(qemu_pids(vm)) == 1


def test_a_changed_template_is_picked_up_at_the_next_start(cluster: Cluster, vm: str) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=cluster.machine(vm, running=True))
    cluster.wait_printable(vm, "Running")
    path = '[{"op":"replace","path":"/spec/template/spec/domain/resources/requests/memory","value":"112M"}]'
    cluster.kubectl("patch", "vm", vm, "--type", "json", "-p", path)
    cluster.virtctl("restart", vm, "--wait", "--timeout", "60s")
    assert cluster.get("vmi", vm)["spec"]["domain"]["resources"]["requests"]["memory"] == "112M"


def test_a_claim_and_a_socket_are_plugged_into_a_running_machine(cluster: Cluster, vm: str) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}}}
    made = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": f"{vm}-c"}, "spec": claim}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(made))
    cluster.kubectl("apply", "-f", "-", stdin=cluster.machine(vm, runStrategy="Always"))
    cluster.wait_phase(vm, "Running")
    before = uid(cluster, vm)
    path = f"/apis/subresources.kubevirt.io/v1/namespaces/{NAMESPACE}/virtualmachines/{vm}"
    source = {"persistentVolumeClaim": {"claimName": f"{vm}-c"}}
    body = {"name": "more", "disk": {"disk": {"bus": "scsi"}}, "volumeSource": source}
    cluster.kubectl("replace", "--raw", f"{path}/addvolume", "-f", "-", stdin=json.dumps(body))

    def phase() -> str:
        told = (cluster.get("vmi", vm) or {"status": {}})["status"].get("volumeStatus", [])
        return str(next((each.get("phase") for each in told if each["name"] == "more"), "none"))

    eventually(lambda: phase() == "Ready", within=20, what="the volume Ready")
    cluster.kubectl("replace", "--raw", f"{path}/removevolume", "-f", "-", stdin='{"name": "more"}')
    eventually(lambda: phase() == "none", within=60, what="the volume gone")
    cluster.kubectl("patch", "vm", vm, "--type=merge", "-p", SOCKETS)

    def sockets() -> int:
        return int(cluster.get("vmi", vm)["status"]["currentCPUTopology"]["sockets"])

    eventually(lambda: sockets() == 2, within=20, what="two sockets")
    conditions = {each["type"] for each in cluster.get("vm", vm)["status"]["conditions"]}
    assert "RestartRequired" not in conditions
    assert uid(cluster, vm) == before


SOCKETS = '{"spec": {"template": {"spec": {"domain": {"cpu": {"sockets": 2}}}}}}'


def test_orphaned_instance_keeps_running_and_is_adopted(cluster: Cluster, vm: str) -> None:
    manifest = cluster.machine(vm, running=True)
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
    cluster.wait_printable(vm, "Running")
    [pid], instance = qemu_pids(vm), uid(cluster, vm)
    cluster.kubectl("delete", "vm", vm, "--cascade=orphan")
    orphan = cluster.get("vmi", vm)
    assert orphan is not None
    assert not orphan["metadata"].get("ownerReferences")
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
    cluster.wait_printable(vm, "Running")
    owner = cluster.get("vm", vm)["metadata"]["uid"]
    eventually(
        lambda: [ref["uid"] for ref in cluster.get("vmi", vm)["metadata"].get("ownerReferences", [])] == [owner],
        within=20,
        what="adoption",
    )
    assert (uid(cluster, vm), qemu_pids(vm)) == (instance, [pid])


def test_deleting_the_machine_takes_its_guest_along(cluster: Cluster, vm: str) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=cluster.machine(vm, running=True))
    cluster.wait_printable(vm, "Running")
    instance = uid(cluster, vm)
    cluster.kubectl("delete", "vm", vm, "--cascade=background", "--wait=true")
    eventually(lambda: cluster.get("vmi", vm) is None, within=30, what="the instance gone")
    assert qemu_pids(vm) == []
    left = [path for path in cluster.work.rglob("*") if instance in path.name]
    assert left == []


@pytest.mark.parametrize(
    ("strategy", "again", "status"),
    [
        ("Always", True, "Running"),
        ("RerunOnFailure", False, "Stopped"),
        ("Manual", False, "Stopped"),
        ("Once", False, "Stopped"),
    ],
)
def test_shutdown_from_inside(cluster: Cluster, vm: str, strategy: str, again: bool, status: str) -> None:
    # The overlay is fresh for each instance, so a restarted guest would power itself off again: it does so late.
    manifest = with_script(cluster.machine(vm, runStrategy=strategy), "(sleep 4; poweroff) &")
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
    if strategy == "Manual":
        cluster.virtctl("start", vm)
    first = eventually(lambda: uid(cluster, vm), within=30, what="an instance")
    cluster.wait_phase(vm, "Running")
    if again:
        eventually(lambda: uid(cluster, vm) not in ("", first), within=60, what="a second instance")
        return
    cluster.wait_printable(vm, status, within=60)
    assert uid(cluster, vm) in ("", first)
    assert qemu_pids(vm) == []


@pytest.mark.parametrize("strategy", ["Always", "RerunOnFailure"])
def test_killed_guest_is_started_again(cluster: Cluster, vm: str, strategy: str) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=cluster.machine(vm, runStrategy=strategy))
    cluster.wait_printable(vm, "Running")
    first, [pid] = uid(cluster, vm), qemu_pids(vm)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: uid(cluster, vm) not in ("", first), within=60, what="a new instance")
    cluster.wait_printable(vm, "Running")
    assert len(qemu_pids(vm)) == 1


def test_killed_lone_instance_fails_and_says_why(cluster: Cluster, vm: str) -> None:
    template = json.loads(cluster.machine(vm))["spec"]["template"]["spec"]
    cluster.virtctl("apply", "-f", "-", stdin=lone_instance(vm, template))
    cluster.wait_phase(vm, "Running")
    [pid] = qemu_pids(vm)
    os.kill(pid, signal.SIGKILL)
    cluster.wait_phase(vm, "Failed", within=30)
    listed = cluster.virtctl("list", "vmi", "-o", "json").stdout
    status = next(item for item in json.loads(listed)["items"] if item["metadata"]["name"] == vm)["status"]
    ready = next(each for each in status["conditions"] if each["type"] == "Ready")
    assert ready["status"] == "False"
    assert "Stopped" in cluster.reasons(vm)


def test_panicked_guest_fails_as_crashed(cluster: Cluster, vm: str) -> None:
    """A lone instance with a panic device: its crash is its end, and told as one."""
    crash = with_script(cluster.machine(vm), "(sleep 3; echo c > /proc/sysrq-trigger) &")
    template = json.loads(crash)["spec"]["template"]["spec"]
    template["domain"]["devices"]["panicDevices"] = [{"model": "isa"}]
    cluster.virtctl("apply", "-f", "-", stdin=lone_instance(vm, template))
    cluster.wait_phase(vm, "Failed", within=150)
    assert re.search(r"Stopped .*crashed", cluster.kubectl("describe", "vmi", vm).stdout)


def test_deleted_instance_gets_its_grace_period(cluster: Cluster, vm: str) -> None:
    """ACPI shutdown first: the guest says on its console that it goes down, and is gone before the period ends."""
    machine = json.loads(cluster.machine(vm, running=True))
    machine["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 30
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(machine))
    cluster.wait_printable(vm, "Running")
    log = next(cluster.work.glob(f"state/node/vmis/{uid(cluster, vm)}/*.log"))
    eventually(lambda: "login:" in log.read_text(errors="replace"), within=150, what="the guest up")
    with log.open(errors="replace") as still_readable_when_removed:
        cluster.virtctl("stop", vm, "--wait", "--timeout", "25s")
        assert "Requesting system poweroff" in still_readable_when_removed.read()
