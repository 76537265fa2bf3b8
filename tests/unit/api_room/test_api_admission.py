"""Who may write what of a VirtualMachine and a VirtualMachineInstance, and what they look like afterwards."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from virt_api.admission import NODE_GROUP_PREFIX, RUNNING_DEPRECATED, KubeVirtAdmission, new_mac
from virt_api.webhooks import admission_request
from virt_kube.admission import AdmissionRequest, UserInfo
from virt_kube.api import ApiError, Json
from virt_types import labels
from virt_types.names import instance_id

ALICE = UserInfo("alice", ("system:authenticated",))
CONTROLLER = UserInfo(labels.CONTROLLER_USER, (labels.SERVICE_ACCOUNTS_GROUP,))
HANDLER = UserInfo(labels.HANDLER_USER, (labels.SERVICE_ACCOUNTS_GROUP, NODE_GROUP_PREFIX + "n1"))
UUID = "6f1c1f5a-6f3e-4b0a-9d0c-0d7a3ad1b0c1"
OTHER = "6f1c1f5a-6f3e-4b0a-9d0c-0d7a3ad1b0c2"
NOW = "2026-01-31T12:00:00Z"
SPEC: Json = {
    "domain": {"devices": {"disks": [{"name": "root", "disk": {}}]}, "memory": {"guest": "64Mi"}},
    "volumes": [{"name": "root", "emptyDisk": {"capacity": "1Gi"}}],
}


def admission(**options: Any) -> KubeVirtAdmission:
    return KubeVirtAdmission(new_uuid=lambda: UUID, new_mac=lambda: "52:54:00:00:00:01", now=lambda: NOW, **options)


def request(obj: Json | None, old: Json | None = None, *, user: UserInfo = ALICE, **changes: Any) -> AdmissionRequest:
    vm = (obj or old or {})["kind"] == "VirtualMachine"
    return AdmissionRequest(
        operation="UPDATE" if old else "CREATE",
        group="kubevirt.io",
        version="v1",
        plural="virtualmachines" if vm else "virtualmachineinstances",
        kind="VirtualMachine" if vm else "VirtualMachineInstance",
        namespace="default",
        name="x",
        subresource="",
        obj=copy.deepcopy(obj),
        old=copy.deepcopy(old),
        user=user,
    )._replace(**changes)


def vm(**spec: Any) -> Json:
    return {"kind": "VirtualMachine", "metadata": {"name": "x"}, "spec": {"template": {"spec": SPEC}} | spec}


def vmi(**fields: Any) -> Json:
    return {"kind": "VirtualMachineInstance", "metadata": {"name": "x"}, "spec": copy.deepcopy(SPEC)} | fields


async def admitted(asked: AdmissionRequest, **options: Any) -> Json:
    result = await admission(**options).admit(asked)
    assert result.obj is not None
    return result.obj


async def refused(asked: AdmissionRequest, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await admission(**options).admit(asked)
    return caught.value


async def test_a_new_vm_gets_its_lasting_identity_and_a_warning_about_running() -> None:
    result = await admission().admit(request(vm(running=False)))
    assert result.obj is not None
    domain = result.obj["spec"]["template"]["spec"]["domain"]
    assert domain["firmware"] == {"uuid": UUID, "serial": UUID}
    assert domain["devices"]["interfaces"][0]["macAddress"] == "52:54:00:00:00:01"
    assert result.warnings == (RUNNING_DEPRECATED,)


async def test_replacing_a_vm_with_its_manifest_keeps_the_identity() -> None:
    old = await admitted(request(vm(runStrategy="Halted")))
    old["spec"]["template"]["spec"]["domain"]["firmware"] = {"uuid": OTHER, "serial": "one"}
    bare = vm(runStrategy="Always")
    bare["spec"]["template"]["spec"] = copy.deepcopy(SPEC) | {
        "networks": [{"name": "default", "pod": {}}],
    }
    bare["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"] = [{"name": "default", "bridge": {}}]
    domain = (await admitted(request(bare, old)))["spec"]["template"]["spec"]["domain"]
    assert domain["firmware"] == {"uuid": OTHER, "serial": "one"}
    assert domain["devices"]["interfaces"][0]["macAddress"] == "52:54:00:00:00:01"


async def test_every_broken_rule_is_named_up_to_ten() -> None:
    broken = vm(runStrategy="Halted")
    broken["spec"]["template"]["spec"] = copy.deepcopy(SPEC)
    disks = [{"name": f"x{number}", "disk": {}} for number in range(13)]
    broken["spec"]["template"]["spec"]["domain"]["devices"]["disks"] += disks
    err = await refused(request(broken))
    causes = err.status["details"]["causes"]
    assert (err.code, len(causes)) == (422, 10)
    assert causes[0]["field"] == "spec.template.spec.domain.devices.disks[1].name"
    assert err.message.endswith(", and 3 more validation errors")


async def test_a_vm_that_breaks_newer_rules_can_still_be_labelled_and_deleted() -> None:
    old = vm(runStrategy="Nonsense")
    labelled = copy.deepcopy(old) | {"metadata": {"name": "x", "labels": {"a": "b"}}}
    assert await admitted(request(labelled, old)) == labelled
    leaving = copy.deepcopy(old)
    leaving["metadata"] |= {"deletionTimestamp": NOW, "finalizers": ["f"]}
    done = copy.deepcopy(leaving)
    done["metadata"]["finalizers"] = []
    done["spec"]["runStrategy"] = "AlsoNonsense"
    assert await admitted(request(done, leaving)) == done


async def test_a_vm_that_breaks_newer_rules_can_still_be_stopped_and_gets_no_worse() -> None:
    old = vm(runStrategy="Always")
    old["spec"]["template"]["spec"] = copy.deepcopy(SPEC)
    old["spec"]["template"]["spec"]["domain"]["devices"]["disks"].append({"name": "orphan", "disk": {}})
    stopped = copy.deepcopy(old)
    stopped["spec"]["runStrategy"] = "Halted"
    assert (await admitted(request(stopped, old)))["spec"]["runStrategy"] == "Halted"
    worse = copy.deepcopy(stopped)
    worse["spec"]["template"]["spec"]["domain"]["devices"]["disks"].append({"name": "second", "disk": {}})
    err = await refused(request(worse, old))
    assert [cause["field"] for cause in err.status["details"]["causes"]] == [
        "spec.template.spec.domain.devices.disks[2].name"
    ]


async def test_a_users_vmi_begins_pending_whatever_its_status_says() -> None:
    obj = await admitted(request(vmi(status={"phase": "Running", "nodeName": "n1"})))
    assert obj["status"]["phase"] == "Pending"
    assert "nodeName" not in obj["status"]
    assert obj["status"]["phaseTransitionTimestamps"] == [{"phase": "Pending", "phaseTransitionTimestamp": NOW}]
    assert labels.VMI_FINALIZER in obj["metadata"]["finalizers"]
    assert obj["metadata"]["labels"] == {labels.VMI_ID: "x"}


async def test_the_controllers_vmi_keeps_where_it_was_placed() -> None:
    placed = vmi(status={"phase": "Scheduled", "nodeName": "n1"})
    placed["metadata"]["labels"] = {labels.NODE_NAME: "n1"}
    obj = await admitted(request(placed, user=CONTROLLER))
    assert (obj["status"]["phase"], obj["status"]["nodeName"]) == ("Scheduled", "n1")
    assert obj["metadata"]["labels"][labels.NODE_NAME] == "n1"
    assert labels.VMI_FINALIZER in obj["metadata"]["finalizers"]


async def test_reserved_labels_are_the_components() -> None:
    claimed = vmi()
    claimed["metadata"]["labels"] = {labels.NODE_NAME: "n1"}
    err = await refused(request(claimed))
    assert "creation of the following reserved kubevirt.io/ labels" in err.message
    err = await refused(request(claimed, vmi()))
    assert err.message == "modification of the following reserved kubevirt.io/ labels on a VMI object is prohibited"


async def test_users_change_neither_spec_nor_status_of_a_vmi() -> None:
    old = vmi(status={"phase": "Running"})
    changed = vmi(status={"phase": "Failed"})
    changed["metadata"]["labels"] = {"mine": "yes"}
    obj = await admitted(request(changed, old))
    assert obj["status"] == {"phase": "Running"}
    assert obj["metadata"]["labels"] == {"mine": "yes"}
    changed["spec"]["domain"]["memory"]["guest"] = "1Gi"
    assert (await refused(request(changed, old))).message == "update of VMI object is restricted"
    assert await admitted(request(changed, old, user=CONTROLLER)) == changed


async def test_what_holds_an_instance_stays_when_a_manifest_replaces_it() -> None:
    finalizers = [labels.VMI_FINALIZER, labels.VM_FINALIZER, "example.org/mine"]
    old = vmi(metadata={"name": "x", "finalizers": finalizers})
    for given, kept in (
        ([], finalizers[:2]),
        (["example.org/new"], [*finalizers[:2], "example.org/new"]),
        (finalizers, finalizers),
    ):
        new = vmi(metadata={"name": "x"} | ({"finalizers": given} if given else {}))
        assert (await admitted(request(new, old)))["metadata"]["finalizers"] == kept
    going = old | {"metadata": old["metadata"] | {"deletionTimestamp": NOW}}
    assert "finalizers" not in (await admitted(request(vmi(), going)))["metadata"], "the last resort"
    ours = await admitted(request(vmi(), old, user=CONTROLLER))
    assert "finalizers" not in ours["metadata"]


async def test_a_manifest_may_be_applied_twice() -> None:
    manifest = vmi()
    stored = await admitted(request(manifest))
    again = stored | {"spec": manifest["spec"]}
    assert (await admitted(request(again, stored)))["spec"] == stored["spec"]


async def test_an_interface_added_to_a_machine_gets_its_lasting_mac_at_once() -> None:
    stored = await admitted(request(vm(runStrategy="Halted")))
    changed = copy.deepcopy(stored)
    changed["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"].append({"name": "second", "bridge": {}})
    changed["spec"]["template"]["spec"]["networks"].append({"name": "second", "multus": {"networkName": "second"}})
    later = KubeVirtAdmission(new_mac=lambda: "52:54:00:00:00:02")
    admitted_again = (await later.admit(request(changed, stored))).obj
    assert admitted_again is not None
    interfaces = admitted_again["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"]
    assert [interface["macAddress"] for interface in interfaces] == ["52:54:00:00:00:01", "52:54:00:00:00:02"]


@pytest.mark.parametrize(
    ("groups", "require_node", "message"),
    [
        ((NODE_GROUP_PREFIX + "n1",), True, ""),
        ((NODE_GROUP_PREFIX + "n2",), True, "Node restriction, virt-handler is only allowed to modify VMIs it owns"),
        ((NODE_GROUP_PREFIX + "n2",), False, "Node restriction, virt-handler is only allowed to modify VMIs it owns"),
        ((), True, "Node restriction failed, virt-handler service account is missing node name"),
        ((), False, ""),
    ],
)
async def test_a_node_agent_writes_the_vmis_of_its_node(
    groups: tuple[str, ...], require_node: bool, message: str
) -> None:
    old = vmi(status={"phase": "Scheduled", "nodeName": "n1"})
    asked = request(vmi(status={"phase": "Running", "nodeName": "n1"}), old, user=HANDLER._replace(groups=groups))
    if message:
        assert (await refused(asked, require_node=require_node)).message == message
    else:
        assert (await admitted(asked, require_node=require_node))["status"]["phase"] == "Running"


async def test_status_writes_and_other_kinds_pass_untouched() -> None:
    odd = vm(runStrategy="Nonsense")
    assert await admitted(request(odd, vm(), subresource="status")) == odd
    assert await admitted(request(odd, plural="other")) == odd
    assert (await admission().admit(request(None, vm()))).obj is None


def test_macs_are_qemus_and_differ() -> None:
    macs = {new_mac() for _ in range(100)}
    assert len(macs) > 90
    assert all(mac.startswith("52:54:00:") and len(mac) == 17 for mac in macs)


@pytest.mark.parametrize(("name", "value"), [("vm1", "vm1"), ("a" * 63, "a" * 63), ("a" * 64, "a" * 54 + "-0098ba82")])
def test_the_label_services_select_fits_into_a_label(name: str, value: str) -> None:
    assert instance_id(name) == value
    assert len(instance_id(name)) <= 63


def test_a_review_from_a_real_api_server_names_the_agents_node() -> None:
    extra = {"authentication.kubernetes.io/node-name": ["n1"]}
    review = {
        "uid": "1",
        "operation": "UPDATE",
        "resource": {"group": "kubevirt.io", "version": "v1", "resource": "virtualmachineinstances"},
        "kind": {"kind": "VirtualMachineInstance"},
        "object": vmi(),
        "oldObject": vmi(),
        "userInfo": {"username": labels.HANDLER_USER, "groups": ["g"], "extra": extra},
    }
    asked = admission_request(review)
    assert asked.user == UserInfo(labels.HANDLER_USER, ("g", NODE_GROUP_PREFIX + "n1"))
    assert (asked.name, asked.subresource, asked.dry_run) == ("x", "", False)


async def test_what_may_not_change_is_refused_with_the_rules_of_updates() -> None:
    old = vm(runStrategy="Halted") | {"status": {"restoreInProgress": "r"}}
    error = await refused(request(vm(runStrategy="Always"), old))
    assert error.message == 'Cannot update VM runStrategy until restore "r" completes'
    requests = {"volumeRequests": [{}]}
    asked = request(vm() | {"status": requests}, vm(), subresource="status")
    assert (await refused(asked)).message.startswith("VolumeRequests require one of either")
    # Old requests do not keep a controller from writing the rest of a status.
    asked = request(vm() | {"status": requests | {"ready": True}}, vm() | {"status": requests}, subresource="status")
    assert (await admitted(asked))["status"]["ready"] is True


async def test_our_own_components_change_only_what_can_be_plugged() -> None:
    changed = vmi()
    changed["spec"]["volumes"][0]["emptyDisk"]["capacity"] = "2Gi"
    assert (await refused(request(changed, vmi(), user=CONTROLLER))).message == "permanent volume root, changed"
    plugged = vmi()
    claim = {"claimName": "c", "hotpluggable": True}
    plugged["spec"]["volumes"].append({"name": "p", "persistentVolumeClaim": claim})
    plugged["spec"]["domain"]["devices"]["disks"].append({"name": "p", "disk": {"bus": "scsi"}})
    assert await admitted(request(plugged, vmi(), user=CONTROLLER)) == plugged


async def test_a_node_agent_chooses_no_target_for_a_migration() -> None:
    old = vmi(status={"nodeName": "n1"})
    moved = old | {"metadata": {"name": "x", "labels": {labels.MIGRATION_TARGET_NODE_NAME: "n2"}}}
    error = await refused(request(moved, old, user=HANDLER))
    assert error.message == "Node restriction, virt-handler is not allowed to set target node"
    assert (await admitted(request(moved, old, user=CONTROLLER)))["metadata"] == moved["metadata"]


async def test_fields_of_newer_versions_stay() -> None:
    machine, guest = vm(runStrategy="Halted", newer=1), vmi()
    machine["spec"]["template"] = {"spec": copy.deepcopy(SPEC) | {"newest": {"a": 1}}}
    guest["spec"]["domain"]["devices"]["disks"][0]["newest"] = True
    kept = (await admitted(request(machine)))["spec"]
    assert (kept["newer"], kept["template"]["spec"]["newest"]) == (1, {"a": 1})
    assert (await admitted(request(guest)))["spec"]["domain"]["devices"]["disks"][0]["newest"] is True


async def test_kinds_without_defaults_are_judged_too() -> None:
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": SPEC}}
    replicas = {"kind": "VirtualMachineInstanceReplicaSet", "metadata": {"name": "x"}, "spec": spec}
    error = await refused(request(replicas, plural="virtualmachineinstancereplicasets"))
    assert error.message == "selector does not match labels."
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    volume = {"kind": "DataVolume", "metadata": {"name": "x"}, "spec": {"source": {"blank": {}}, "pvc": claim}}
    other = volume | {"spec": {"source": {"upload": {}}, "pvc": claim}}
    about = {"group": "cdi.kubevirt.io", "plural": "datavolumes"}
    assert await admitted(request(volume, **about)) == volume
    assert (await refused(request(other, volume, **about))).message == "Cannot update DataVolume Spec"


async def test_only_our_components_set_a_migrations_priority() -> None:
    spec = {"vmiName": "a", "priority": "system-critical"}
    job = {"kind": "VirtualMachineInstanceMigration", "metadata": {"name": "x"}, "spec": spec}
    about = {"plural": "virtualmachineinstancemigrations"}
    assert "only virt-controller is allowed" in (await refused(request(job, **about))).message
    labelled = job | {"metadata": {"name": "x", "labels": {labels.VMI_NAME: "a"}}}
    assert await admitted(request(job, user=CONTROLLER, **about)) == labelled
