"""Instancetypes, preferences and presets on the embedded server: admission, revisions, expand-spec, kubectl."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from support.api_server import Kubectl, find_kubectl
from support.embedded_cluster import Cluster, cluster

from virt_kube.api import ApiError, BadRequest, Invalid, Json, Resource
from virt_kube.resources import (
    CONTROLLER_REVISIONS,
    EVENTS,
    PERSISTENT_VOLUME_CLAIMS,
    VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES,
    VIRTUAL_MACHINE_CLUSTER_PREFERENCES,
    VIRTUAL_MACHINE_INSTANCE_PRESETS,
    VIRTUAL_MACHINE_INSTANCES,
    VIRTUAL_MACHINE_INSTANCETYPES,
    VIRTUAL_MACHINE_PREFERENCES,
    VIRTUAL_MACHINES,
)

SIZE = {"cpu": {"guest": 2}, "memory": {"guest": "128Mi"}}
NS = "default"


@pytest.fixture
async def c(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, over_http=False) as running:
        yield running


def machine(domain: Json | None = None, *, name: str = "vm1", claim: str = "", **spec: Any) -> Json:
    volume = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"containerDisk": {"image": "r.example/d:1"}}
    guest = {
        "domain": {"devices": {"disks": [{"name": "root", "disk": {}}]}, **(domain or {})},
        "volumes": [{"name": "root", **volume}],
    }
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": NS},
        "spec": {"runStrategy": "Halted", "template": {"spec": guest}, **deepcopy(spec)},
    }


async def make(c: Cluster, resource: Resource, name: str, spec: Json, **labels: str) -> Json:
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
    if labels:
        body["metadata"]["labels"] = {key.replace("__", "/"): value for key, value in labels.items()}
    namespace = NS if resource.namespaced else ""
    made: Json = json.loads(await c.admin.create(resource, namespace, body))
    return made


async def refusal(c: Cluster, body: Json, resource: Resource = VIRTUAL_MACHINES) -> list[tuple[str, str, str]]:
    with pytest.raises(Invalid) as caught:
        await c.admin.create(resource, NS, body)
    causes = caught.value.status["details"]["causes"]
    return [(cause["reason"], cause.get("field", ""), cause["message"]) for cause in causes]


async def instance(c: Cluster) -> Json:
    found: Json = json.loads(await c.admin.get(VIRTUAL_MACHINE_INSTANCES, NS, "vm1"))
    return found


# Admission of VMs.


async def test_what_is_not_there_is_refused(c: Cluster) -> None:
    missing = await refusal(c, machine(instancetype={"name": "nosuch"}))
    assert missing[0] == (
        "FieldValueNotFound",
        "spec.instancetype",
        'Failure to find instancetype: virtualmachineclusterinstancetypes.instancetype.kubevirt.io "nosuch" not found',
    )
    own = await refusal(c, machine(preference={"kind": "VirtualMachinePreference", "name": "p"}))
    assert own[0][1:] == (
        "spec.preference",
        'Failure to find preference: virtualmachinepreferences.instancetype.kubevirt.io "p" not found',
    )
    kind = await refusal(c, machine(instancetype={"kind": "Foo", "name": "x"}))
    assert kind[0][2] == "Failure to find instancetype: got unexpected kind in InstancetypeMatcher: Foo"


async def test_the_other_kind_of_that_name_is_suggested(c: Cluster) -> None:
    await make(c, VIRTUAL_MACHINE_INSTANCETYPES, "small", SIZE)
    (cause, *_) = await refusal(c, machine(instancetype={"name": "small"}))
    assert cause[2].endswith(
        '"small" not found; there is a VirtualMachineInstancetype of that name: set spec.instancetype.kind'
    )


async def test_conflicts_and_requirements(c: Cluster) -> None:
    await make(c, VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "small", SIZE)
    await make(c, VIRTUAL_MACHINE_CLUSTER_PREFERENCES, "big", {"requirements": {"memory": {"guest": "1Gi"}}})
    both = machine({"memory": {"guest": "1Gi"}, "cpu": {"cores": 2}}, instancetype={"name": "small"})
    fields = [f"spec.template.spec.domain.{field}" for field in ("memory.guest", "cpu.cores")]
    assert await refusal(c, both) == [
        ("FieldValueInvalid", field, f"VM field(s) {field} conflicts with selected instance type") for field in fields
    ]
    (cause,) = await refusal(c, machine(instancetype={"name": "small"}, preference={"name": "big"}))
    assert cause[1:] == (
        "spec.instancetype",
        "failure checking preference requirements: insufficient Memory resources of 128Mi provided by instance type, "
        "preference requires 1Gi",
    )


async def test_a_vm_is_judged_as_its_instances_will_be(c: Cluster) -> None:
    size = {
        "cpu": {"guest": 2, "dedicatedCPUPlacement": False, "isolateEmulatorThread": True},
        "memory": SIZE["memory"],
    }
    await make(c, VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "odd", size)
    found = await refusal(c, machine(instancetype={"name": "odd"}))
    assert "spec.template.spec.domain.cpu" in found[0][1]


async def test_a_new_vm_keeps_what_its_defaults_depend_on(c: Cluster) -> None:
    wanted = {"machine": {"preferredMachineType": "pc-q35-7.2"}, "devices": {"preferredInterfaceMasquerade": {}}}
    await make(c, VIRTUAL_MACHINE_PREFERENCES, "p", wanted)
    body = machine({"memory": {"guest": "64Mi"}}, preference={"kind": "VirtualMachinePreference", "name": "p"})
    vm = json.loads(await c.admin.create(VIRTUAL_MACHINES, NS, body))
    spec = vm["spec"]["template"]["spec"]
    assert spec["domain"]["machine"] == {"type": "pc-q35-7.2"}
    assert "masquerade" in spec["domain"]["devices"]["interfaces"][0]
    assert vm["spec"]["preference"] == {"kind": "VirtualMachinePreference", "name": "p"}


async def test_a_vm_that_lost_its_instancetype_can_be_stopped_and_mended(c: Cluster) -> None:
    await make(c, VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "small", SIZE)
    await make(c, VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "large", SIZE | {"memory": {"guest": "256Mi"}})
    await c.admin.create(VIRTUAL_MACHINES, NS, machine(instancetype={"name": "small"}))
    await c.shows("Stopped")
    await c.admin.delete(VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "", "small")
    await c.admin.patch(VIRTUAL_MACHINES, NS, "vm1", {"spec": {"runStrategy": "Manual"}}, kind="merge")
    with pytest.raises(Invalid, match="Failure to find instancetype"):
        await c.admin.patch(VIRTUAL_MACHINES, NS, "vm1", {"spec": {"instancetype": {"name": "gone"}}}, kind="merge")
    await c.admin.patch(VIRTUAL_MACHINES, NS, "vm1", {"spec": {"instancetype": {"name": "large"}}}, kind="merge")


# The VMs' life.


async def revisions(c: Cluster) -> list[Json]:
    page = await c.admin.list(CONTROLLER_REVISIONS, NS, label_selector="instancetype.kubevirt.io/object-kind")
    return sorted((json.loads(item) for item in page.items), key=lambda item: str(item["metadata"]["name"]))


async def pinned(c: Cluster, word: str, name: str) -> Json:
    """The status' reference once it stands for `name`."""
    for _ in range(300):
        ref: Json = (await c.vm()).get("status", {}).get(f"{word}Ref") or {}
        if ref.get("name") == name:
            return ref
        await asyncio.sleep(0.02)
    raise AssertionError(f"never held to {name}")


async def test_later_edits_change_no_vm(c: Cluster) -> None:
    """The recorded life of a VM with an instancetype (vm-trouble of the oracle), and a preference besides."""
    size = await make(c, VIRTUAL_MACHINE_INSTANCETYPES, "it", SIZE)
    await make(c, VIRTUAL_MACHINE_CLUSTER_PREFERENCES, "pf", {"devices": {"preferredDiskBus": "scsi"}})
    sized = {"instancetype": {"kind": "VirtualMachineInstancetype", "name": "it"}, "preference": {"name": "pf"}}
    await c.admin.create(VIRTUAL_MACHINES, NS, machine(runStrategy="Always", **sized))
    vm = await c.shows("Running")
    name = f"vm1-it-v1beta1-{size['metadata']['uid']}-1"
    assert vm["status"]["instancetypeRef"] == {
        "kind": "VirtualMachineInstancetype",
        "name": "it",
        "controllerRevisionRef": {"name": name},
    }
    assert vm["spec"]["instancetype"] == sized["instancetype"]
    stored = next(each for each in await revisions(c) if each["metadata"]["name"] == name)
    prefix = "instancetype.kubevirt.io/object-"
    assert stored["metadata"]["labels"] == {
        f"{prefix}generation": "1",
        f"{prefix}kind": "VirtualMachineInstancetype",
        f"{prefix}name": "it",
        f"{prefix}uid": size["metadata"]["uid"],
        f"{prefix}version": "v1beta1",
    }
    assert (stored["metadata"]["ownerReferences"][0]["uid"], stored["revision"]) == (vm["metadata"]["uid"], 0)
    assert stored["data"]["spec"] == SIZE
    first = await instance(c)
    assert first["spec"]["domain"]["cpu"] == {
        "cores": 1,
        "sockets": 2,
        "threads": 1,
        "maxSockets": 8,
        "model": "host-model",
    }
    assert (
        first["spec"]["domain"]["memory"]["guest"],
        first["spec"]["domain"]["devices"]["disks"][0]["disk"]["bus"],
    ) == (
        "128Mi",
        "scsi",
    )
    annotations = first["metadata"]["annotations"]
    assert annotations["kubevirt.io/instancetype-name"] == "it"
    assert annotations["kubevirt.io/cluster-preference-name"] == "pf"

    bigger = {"spec": {"cpu": {"guest": 4}}}
    await c.admin.patch(VIRTUAL_MACHINE_INSTANCETYPES, NS, "it", bigger, kind="merge")
    await c.admin.delete(VIRTUAL_MACHINE_INSTANCES, NS, "vm1")
    for _ in range(300):
        await c.shows("Running")
        again = await instance(c)
        if again["metadata"]["uid"] != first["metadata"]["uid"]:
            break
        await asyncio.sleep(0.02)
    assert again["metadata"]["uid"] != first["metadata"]["uid"]
    assert again["spec"]["domain"]["cpu"]["sockets"] == 2

    await c.admin.delete(VIRTUAL_MACHINES, NS, "vm1")
    await c.gone()
    for _ in range(300):
        if not await revisions(c):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the revisions stayed")


async def test_another_instancetype_is_another_revision(c: Cluster) -> None:
    await make(c, VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "small", SIZE)
    large = await make(c, VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "large", SIZE | {"memory": {"guest": "256Mi"}})
    await c.admin.create(VIRTUAL_MACHINES, NS, machine(instancetype={"name": "small"}))
    small = (await pinned(c, "instancetype", "small"))["controllerRevisionRef"]["name"]
    await c.admin.patch(VIRTUAL_MACHINES, NS, "vm1", {"spec": {"instancetype": {"name": "large"}}}, kind="merge")
    ref = await pinned(c, "instancetype", "large")
    name = f"vm1-large-v1beta1-{large['metadata']['uid']}-1"
    assert ref["controllerRevisionRef"]["name"] == name != small
    for _ in range(300):
        if [each["metadata"]["name"] for each in await revisions(c)] == [name]:
            break
        await asyncio.sleep(0.02)
    assert [each["metadata"]["name"] for each in await revisions(c)] == [name]
    edit = {"spec": {"instancetype": None, "template": {"spec": {"domain": {"memory": {"guest": "64Mi"}}}}}}
    await c.admin.patch(VIRTUAL_MACHINES, NS, "vm1", edit, kind="merge")
    for _ in range(300):
        if not await revisions(c) and "instancetypeRef" not in (await c.vm())["status"]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("still held")


async def test_a_revision_the_owner_chose(c: Cluster) -> None:
    await make(c, VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "small", SIZE)
    await c.admin.create(VIRTUAL_MACHINES, NS, machine(instancetype={"name": "small"}))
    held = (await pinned(c, "instancetype", "small"))["controllerRevisionRef"]["name"]
    await c.admin.patch(
        VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "", "small", {"spec": {"memory": {"guest": "1Gi"}}}, kind="merge"
    )
    body = machine(name="vm2", runStrategy="Always", instancetype={"name": "small", "revisionName": held})
    await c.admin.create(VIRTUAL_MACHINES, NS, body)
    vm = await c.shows("Running", "vm2")
    assert vm["status"]["instancetypeRef"]["controllerRevisionRef"] == {"name": held}
    vmi = json.loads(await c.admin.get(VIRTUAL_MACHINE_INSTANCES, NS, "vm2"))
    assert vmi["spec"]["domain"]["memory"]["guest"] == "128Mi"
    edit = {"spec": {"instancetype": {"name": "other"}}}
    with pytest.raises(Invalid, match="the Matcher Name has been updated without updating the RevisionName"):
        await c.admin.patch(VIRTUAL_MACHINES, NS, "vm2", edit, kind="merge")


async def test_why_a_vm_does_not_start(c: Cluster) -> None:
    """A conflict that came in behind admission's back: through the status of an older server, say."""
    await make(c, VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "small", SIZE)
    await c.admin.create(VIRTUAL_MACHINES, NS, machine(instancetype={"name": "small"}))
    await pinned(c, "instancetype", "small")
    c.admission.connect(None)
    conflicting = {"memory": {"guest": "64Mi"}}
    edit = {"spec": {"runStrategy": "Always", "template": {"spec": {"domain": conflicting}}}}
    await c.admin.patch(VIRTUAL_MACHINES, NS, "vm1", edit, kind="merge")
    text = (
        "Error creating virtual machine instance: Failed to apply instancetype: "
        "VMI conflicts with instancetype spec in fields: [spec.template.spec.domain.memory.guest]"
    )
    assert await failure(c) == ("FailedCreate", text)
    assert await told(c, "FailedCreate") == [text]
    c.admission.connect(c.api)
    for allowed in ({"runStrategy": "Manual"}, {"runStrategy": "Always"}):
        await c.admin.patch(VIRTUAL_MACHINES, NS, "vm1", {"spec": allowed}, kind="merge")
    c.admission.connect(None)
    missing = {"spec": {"instancetype": {"name": "nosuch"}, "template": {"spec": {"domain": {"memory": None}}}}}
    await c.admin.patch(VIRTUAL_MACHINES, NS, "vm1", missing, kind="merge")
    reason = (
        "FailedFindInstancetype",
        'virtualmachineclusterinstancetypes.instancetype.kubevirt.io "nosuch" not found',
    )
    assert await failure(c, reason[0]) == reason


async def test_a_revision_that_was_taken_away(c: Cluster) -> None:
    await make(c, VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "small", SIZE)
    await make(c, VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "other", SIZE)
    await c.admin.create(VIRTUAL_MACHINES, NS, machine(instancetype={"name": "small"}))
    held = (await pinned(c, "instancetype", "small"))["controllerRevisionRef"]["name"]
    await c.admin.delete(CONTROLLER_REVISIONS, NS, held)
    await c.admin.patch(VIRTUAL_MACHINES, NS, "vm1", {"spec": {"runStrategy": "Always"}}, kind="merge")
    _, message = await failure(c, "FailedFindInstancetype")
    assert message == (
        f'controllerrevisions.apps "{held}" not found; '
        "the VM is held to it: name another instancetype, or set spec.instancetype.revisionName"
    )
    await c.admin.patch(VIRTUAL_MACHINES, NS, "vm1", {"spec": {"instancetype": {"name": "other"}}}, kind="merge")
    await c.shows("Running")


async def told(c: Cluster, reason: str) -> list[str]:
    """The events' texts, once there are any."""
    for _ in range(300):
        events = [json.loads(item) for item in (await c.admin.list(EVENTS, NS)).items]
        if found := [event["message"] for event in events if event["reason"] == reason]:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("no event")


async def failure(c: Cluster, reason: str = "FailedCreate") -> tuple[str, str]:
    for _ in range(300):
        for condition in (await c.vm()).get("status", {}).get("conditions", []):
            if condition["type"] == "Failure" and condition["reason"] == reason:
                return condition["reason"], condition["message"]
        await asyncio.sleep(0.02)
    raise AssertionError("no such failure")


# Inference.

INFER = {"instancetype": {"inferFromVolume": "root"}}
LABEL = "instancetype.kubevirt.io__default-instancetype"


async def claim(c: Cluster, **labels: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await make(c, PERSISTENT_VOLUME_CLAIMS, "disk", spec, **labels)


async def test_a_claim_suggests(c: Cluster) -> None:
    await make(c, VIRTUAL_MACHINE_INSTANCETYPES, "small", SIZE)
    await make(c, VIRTUAL_MACHINE_CLUSTER_PREFERENCES, "linux", {"devices": {"preferredRng": {}}})
    labels = {f"{LABEL}-kind": "VirtualMachineInstancetype", "instancetype.kubevirt.io__default-preference": "linux"}
    await claim(c, **{LABEL: "small"}, **labels)
    body = machine(claim="disk", preference={"inferFromVolume": "root"}, **INFER)
    vm = json.loads(await c.admin.create(VIRTUAL_MACHINES, NS, body))
    assert vm["spec"]["instancetype"] == {"kind": "VirtualMachineInstancetype", "name": "small"}
    assert vm["spec"]["preference"] == {"name": "linux"}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("disk", "unable to find required instancetype.kubevirt.io/default-instancetype label on the volume"),
        ("", "unable to infer defaults from volume root as type is not supported"),
        ("nosuch", 'persistentvolumeclaims "nosuch" not found'),
    ],
)
async def test_nothing_suggests(c: Cluster, where: str, message: str) -> None:
    await claim(c)
    with pytest.raises(BadRequest) as caught:
        await c.admin.create(VIRTUAL_MACHINES, NS, machine(claim=where, **INFER))
    assert caught.value.message == message


async def test_a_guess_may_fail(c: Cluster) -> None:
    """As `virtctl create vm` writes it: memory for the case that nothing is found."""
    await claim(c)
    guess = {"instancetype": {"inferFromVolume": "root", "inferFromVolumeFailurePolicy": "Ignore"}}
    memory = {"memory": {"guest": "512Mi"}}
    vm = json.loads(await c.admin.create(VIRTUAL_MACHINES, NS, machine(memory, claim="disk", **guess)))
    assert "instancetype" not in vm["spec"]
    assert vm["spec"]["template"]["spec"]["domain"]["memory"] == {"guest": "512Mi"}
    await make(c, VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "small", SIZE)
    mark = {"metadata": {"labels": {LABEL.replace("__", "/"): "small"}}}
    await c.admin.patch(PERSISTENT_VOLUME_CLAIMS, NS, "disk", mark, kind="merge")
    sized = json.loads(await c.admin.create(VIRTUAL_MACHINES, NS, machine(memory, name="b", claim="disk", **guess)))
    assert sized["spec"]["instancetype"] == {"name": "small"}
    assert "memory" not in sized["spec"]["template"]["spec"]["domain"]


async def test_a_reference_that_is_inferred_says_nothing_itself(c: Cluster) -> None:
    matcher = {"inferFromVolume": "root", "name": "x", "kind": "y", "inferFromVolumeFailurePolicy": "Never"}
    found = await refusal(c, machine(instancetype=matcher))
    assert [cause[2] for cause in found if cause[1].startswith("spec.instancetype")] == [
        "Name already set, should be cleared before setting inferFromVolume",
        "Kind already set, should be cleared before setting inferFromVolume",
        "Invalid value 'Never' for InferFromVolumeFailurePolicy",
    ]


# Presets.


async def test_presets_are_merged_and_marked(c: Cluster) -> None:
    chosen = {"selector": {"matchLabels": {"size": "small"}}}
    await make(c, VIRTUAL_MACHINE_INSTANCE_PRESETS, "one", chosen | {"domain": {"devices": {}, "cpu": {"cores": 3}}})
    await make(
        c, VIRTUAL_MACHINE_INSTANCE_PRESETS, "two", chosen | {"domain": {"devices": {}, "ioThreadsPolicy": "auto"}}
    )
    body = machine({"memory": {"guest": "64Mi"}, "cpu": {"cores": 2}}, runStrategy="Always")
    body["spec"]["template"]["metadata"] = {"labels": {"size": "small"}}
    await c.admin.create(VIRTUAL_MACHINES, NS, body)
    await c.shows("Running")
    vmi = await instance(c)
    domain = vmi["spec"]["domain"]
    assert (domain["cpu"]["cores"], domain["ioThreadsPolicy"]) == (2, "auto")
    marks = {key for key in vmi["metadata"]["annotations"] if key.startswith("virtualmachinepreset")}
    assert marks == {"virtualmachinepreset.kubevirt.io/two"}


async def test_a_vm_may_leave_its_memory_to_a_preset(c: Cluster) -> None:
    domain = {"devices": {}, "memory": {"guest": "64Mi"}}
    await make(
        c, VIRTUAL_MACHINE_INSTANCE_PRESETS, "one", {"selector": {"matchLabels": {"size": "s"}}, "domain": domain}
    )
    body = machine(runStrategy="Always")
    body["spec"]["template"]["metadata"] = {"labels": {"size": "m"}}
    assert [cause[1] for cause in await refusal(c, body)] == ["spec.template.spec.domain.memory.guest"]
    body["spec"]["template"]["metadata"] = {"labels": {"size": "s"}}
    await c.admin.create(VIRTUAL_MACHINES, NS, body)
    await c.shows("Running")
    assert (await instance(c))["spec"]["domain"]["memory"]["guest"] == "64Mi"


# The kinds, as kubectl shows them, and the verbs.


@pytest.mark.kubectl
@pytest.mark.skipif(find_kubectl() is None, reason="no kubectl of 1.32 or newer")
async def test_kubectl(c: Cluster, tmp_path: Path) -> None:
    program = find_kubectl()
    assert program is not None
    kubectl = Kubectl(program, c.kubeconfig, tmp_path)

    async def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        done = await asyncio.to_thread(kubectl.run, *arguments, stdin=stdin, ok=False)
        return done.returncode, done.stdout, done.stderr

    objects = [
        {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "a"}, "spec": spec}
        for resource, spec in (
            (VIRTUAL_MACHINE_INSTANCETYPES, SIZE),
            (VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, SIZE),
            (VIRTUAL_MACHINE_PREFERENCES, {"cpu": {"preferredCPUTopology": "preferCores"}}),
            (VIRTUAL_MACHINE_CLUSTER_PREFERENCES, {}),
            (VIRTUAL_MACHINE_INSTANCE_PRESETS, {"domain": {"devices": {}}, "selector": {}}),
        )
    ]
    code, _, err = await run("apply", "-f", "-", stdin="\n".join(map(json.dumps, objects)))
    assert code == 0, err
    assert "VirtualMachineInstancePresets is now deprecated and will be removed in v2." in err
    assert "PreferredCPUTopology preferCores is deprecated for removal in a future release, please use cores" in err
    for short in ("vmf", "vmcf", "vmp", "vmcp", "vmipreset", "vminstancetypes", "vmpref"):
        code, out, err = await run("get", short, "-o", "name")
        assert (code, out.count("/a\n")) == (0, 1), (short, err)
    code, out, _ = await run("explain", "vmf.spec.memory.overcommitPercent")
    assert (code, "FIELD: overcommitPercent <integer>" in out) == (0, True)
    code, out, _ = await run("describe", "vmcf", "a")
    assert (code, "Guest:  128Mi" in out) == (0, True)

    vm = machine(instancetype={"name": "a"}, preference={"kind": "VirtualMachinePreference", "name": "a"})
    code, _, err = await run("apply", "-f", "-", stdin=json.dumps(vm))
    assert code == 0, err
    path = f"/apis/subresources.kubevirt.io/v1/namespaces/{NS}"
    code, out, err = await run("get", "--raw", f"{path}/virtualmachines/vm1/expand-spec")
    assert code == 0, err
    expanded = json.loads(out)
    assert expanded["spec"]["template"]["spec"]["domain"]["cpu"] == {"sockets": 1, "cores": 2, "threads": 1}
    assert "instancetype" not in expanded["spec"]
    assert "preference" not in expanded["spec"]
    assert expanded["metadata"]["uid"]

    async def put(body: Json) -> tuple[int, str, str]:
        return await run("replace", "--raw", f"{path}/expand-vm-spec", "-f", "-", stdin=json.dumps(body))

    code, out, err = await put(vm)
    assert code == 0, err
    assert json.loads(out)["spec"]["template"]["spec"]["domain"]["memory"] == {"guest": "128Mi"}
    for body, said in (
        (machine({"memory": {"guest": "1Gi"}}, instancetype={"name": "a"}), "conflicts with selected instance type"),
        (machine(instancetype={"name": "nosuch"}), '"nosuch" not found'),
        (machine({"memroy": {}}), "Object is not a valid VirtualMachine"),
        (vm | {"metadata": {"name": "x", "namespace": "other"}}, "VM namespace must be empty or default"),
    ):
        code, _, err = await put(body)
        assert (code, said in err) == (1, True), err
    code, _, err = await run("get", "--raw", f"{path}/virtualmachines/nosuch/expand-spec")
    assert (code, 'virtualmachine.kubevirt.io "nosuch" not found' in err) == (1, True)


async def test_an_instancetype_that_makes_no_machine(c: Cluster) -> None:
    with pytest.raises(ApiError, match=r"spec\.cpu\.guest '0': must be greater than 0"):
        await make(c, VIRTUAL_MACHINE_INSTANCETYPES, "none", {"cpu": {"guest": 0}, "memory": {"guest": "1Gi"}})
