"""A VMI's status from what was observed."""

from __future__ import annotations

from typing import Any

from virt_handler import status
from virt_handler.domains import Disk, Domain, Nic, with_disk_errors
from virt_handler.guest_facts import GuestFacts, GuestNic, read_guest_facts
from virt_handler.memory import MemoryProgress
from virt_handler.plugging import VolumeProgress
from virt_handler.records import End, Lease
from virt_kube.patch import diff
from virt_types.codec import from_builtins
from virt_types.v1 import CPU, PersistentVolumeClaimInfo, VirtualMachineInstance, VirtualMachineInstanceGuestOSInfo

NOW = 1_800_000_000.0
DOMAIN = Domain(
    uuid="u",
    name="default_vm",
    vmi_uid="1",
    state="running",
    reason="booted",
    machine="pc-q35-7.2",
    nics=(Nic("52:54:00:00:00:01", "default", "vnet0"),),
    disks=(Disk("root", "vda"), Disk("seed", "sda")),
)
LEASES = {"default": Lease("52:54:00:00:00:01", "192.168.140.10")}


def vmi(**known: Any) -> VirtualMachineInstance:
    scheduled = {"phase": "Scheduled", "phaseTransitionTimestamp": "2026-01-01T00:00:00Z"}
    return from_builtins(
        {
            "metadata": {"name": "vm", "namespace": "default", "uid": "1"},
            "spec": {
                "domain": {"devices": {"interfaces": [{"name": "default", "masquerade": {}}]}},
                "volumes": [{"name": "root"}, {"name": "seed"}, {"name": "unused"}],
            },
            "status": {"phase": "Scheduled", "phaseTransitionTimestamps": [scheduled], "nodeName": "n"} | known,
        },
        VirtualMachineInstance,
    )


def condition(found: Any, kind: str) -> tuple[str, str | None] | None:
    return next(((item.status, item.reason) for item in found.conditions if item.type == kind), None)


def again(found: Any, state: str = "running", reason: str = "booted", later: float = 60) -> Any:
    """The next status of a guest whose status is `found` already."""
    seen = vmi(**status.as_json(found))
    return status.running(seen, DOMAIN._replace(state=state, reason=reason), LEASES, NOW + later)


def test_what_the_node_does_not_have_is_a_condition_while_it_lasts() -> None:
    found = status.running(vmi(), DOMAIN, LEASES, NOW, status.Kept(left_out=("one thing", "another")))
    assert condition(found, "ConfigurationReduced") == ("True", "UnsupportedByNode")
    assert [item.message for item in found.conditions if item.type == "ConfigurationReduced"] == ["one thing; another"]
    again = vmi(**status.as_json(found))
    assert condition(status.running(again, DOMAIN, LEASES, NOW), "ConfigurationReduced") is None


def test_a_running_guest_has_everything_in_one_status() -> None:
    found = status.running(vmi(), DOMAIN, LEASES, NOW)
    assert [entry.phase for entry in found.phase_transition_timestamps] == ["Scheduled", "Running"]
    assert (found.phase, found.machine.type if found.machine else "") == ("Running", "pc-q35-7.2")
    nic = found.interfaces[0]
    assert (nic.name, nic.mac, nic.ip_address, nic.info_source) == (
        "default",
        "52:54:00:00:00:01",
        "192.168.140.10",
        "domain",
    )
    assert [(volume.name, volume.target) for volume in found.volume_status] == [("root", "vda"), ("seed", "sda")]
    assert condition(found, "Ready") == ("True", None)
    assert condition(found, "LiveMigratable") == ("False", "DisksNotLiveMigratable")


def test_the_same_observation_changes_nothing() -> None:
    first = status.running(vmi(), DOMAIN, LEASES, NOW)
    assert diff(status.as_json(first), status.as_json(again(first))) == []


def test_what_an_informer_holds_is_not_changed() -> None:
    shared = vmi()
    before = status.as_json(shared.status)
    status.running(shared, DOMAIN, LEASES, NOW)
    status.ended(shared, End("Failed", "R", "m", NOW))
    assert status.as_json(shared.status) == before


def test_a_pause_says_whose_it_is_and_goes_again() -> None:
    first = status.running(vmi(), DOMAIN, LEASES, NOW)
    paused = again(first, "paused", "ioerror")
    assert condition(paused, "Paused") == ("True", "PausedIOError")
    assert condition(paused, "Ready") == ("False", "GuestPaused")
    assert condition(again(first, "paused", "user"), "Paused") == ("True", "PausedByUser")
    resumed = again(paused)
    assert condition(resumed, "Paused") is None
    assert condition(resumed, "Ready") == ("True", None)


def test_a_transition_time_moves_only_with_the_value() -> None:
    first = status.running(vmi(), DOMAIN, LEASES, NOW)
    times = {item.type: item.last_transition_time for item in first.conditions}
    paused = again(first, "paused", "user")
    later = {item.type: item.last_transition_time for item in paused.conditions}
    assert later["LiveMigratable"] == times["LiveMigratable"]
    assert later["Ready"] != times["Ready"]


def test_the_end_tells_who_and_how_and_a_final_phase_stays() -> None:
    running = vmi(**status.as_json(status.running(vmi(), DOMAIN, LEASES, NOW)))
    found = status.ended(running, End("Succeeded", "GuestShutdown", "the guest shut itself down", NOW))
    assert (found.phase, found.reason) == ("Succeeded", "GuestShutdown")
    ready = next(item for item in found.conditions if item.type == "Ready")
    assert ready.message == "Guest VM is not reported as running: the guest shut itself down"
    final = vmi(phase="Failed", reason="NodeUnresponsive")
    found = status.ended(final, End("Succeeded", "X", "m", NOW))
    assert (found.phase, found.reason) == ("Failed", "NodeUnresponsive")


def test_trouble_goes_when_the_guest_runs() -> None:
    troubled = vmi(**status.as_json(status.troubled(vmi(), "ErrImagePull", "no such image", NOW)))
    assert condition(troubled.status, "Synchronized") == ("False", "ErrImagePull")
    assert troubled.status.phase == "Scheduled"
    assert condition(status.running(troubled, DOMAIN, LEASES, NOW), "Synchronized") is None


def test_silence_of_the_hypervisor_is_unknown_not_death() -> None:
    running = vmi(**status.as_json(status.running(vmi(), DOMAIN, LEASES, NOW)))
    found = status.unknown(running, "libvirt is silent", NOW)
    assert (found.phase, condition(found, "Ready")) == ("Running", ("Unknown", "HypervisorUnreachable"))


def test_volumes_keep_what_others_know_of_them() -> None:
    known = [{"name": "root", "target": "", "persistentVolumeClaimInfo": {"claimName": "c"}}]
    found = status.running(vmi(volumeStatus=known), DOMAIN, LEASES, NOW)
    info = found.volume_status[0].persistent_volume_claim_info
    assert (found.volume_status[0].target, info.claim_name if info else "") == ("vda", "c")


def test_a_guest_may_say_anything_and_little_of_it_is_kept() -> None:
    told = {
        "os.name": "\x1b[31mDebian\n" + "x" * 10_000,
        "os.id": 7,
        "if.count": 10**9,
        "if.0.name": "eth0",
        "if.0.hwaddr": "52:54:00:00:00:01",
        "if.0.addr.count": 10**9,
        "if.0.addr.0.addr": "fe80::1",
    }
    facts = read_guest_facts(told)
    assert facts.os.name is not None
    assert facts.os.name.isprintable()
    assert len(facts.os.name) <= 256
    assert facts.os.id is None
    assert len(facts.nics) == 64
    found = status.running(vmi(), DOMAIN._replace(agent_connected=True), LEASES, NOW, status.Kept(facts=facts))
    assert found.interfaces[0].ip_addresses == ["192.168.140.10", "fe80::1"]
    assert (found.interfaces[0].interface_name, found.interfaces[0].info_source) == ("eth0", "domain, guest-agent")
    assert condition(found, "AgentConnected") == ("True", None)


def test_a_guest_in_user_mode_is_told_to_be_out_of_reach() -> None:
    nic = Nic("52:54:00:00:00:01", "default", "", "user")
    told = GuestFacts(from_builtins({}, VirtualMachineInstanceGuestOSInfo), (guest_nic("10.0.2.15"),))
    leases = {"default": Lease(nic.mac)}
    found = status.running(vmi(), DOMAIN._replace(nics=(nic,)), leases, NOW, status.Kept(facts=told))
    assert condition(found, "NetworkReachable") == ("False", "UserModeNetwork")
    # The address the guest knows itself by leads nowhere, or to somebody else.
    assert found.interfaces[0].ip_address is None
    reachable = status.running(vmi(**status.as_json(found)), DOMAIN, LEASES, NOW)
    assert condition(reachable, "NetworkReachable") is None


def guest_nic(address: str) -> GuestNic:
    return GuestNic("eth0", "52:54:00:00:00:01", (address,))


def test_what_was_kept_is_told_and_forgotten() -> None:
    volumes = {"new": VolumeProgress("Pending", "VolumeAttaching", "coming")}
    memory = MemoryProgress("1Gi", None, "False", "NotSupported", "no room")
    kept = status.Kept(frozen=True, not_ready="no answer", volumes=volumes, memory=memory)
    found = status.running(vmi(), DOMAIN, LEASES, NOW, kept)
    assert found.fs_freeze_status == "frozen"
    assert condition(found, "Ready") == ("False", "ReadinessProbeFailed")
    assert condition(found, "HotMemoryChange") == ("False", "NotSupported")
    entry = {volume.name: volume for volume in found.volume_status}["new"]
    assert (entry.phase, entry.target, entry.hotplug_volume is not None) == ("Pending", "", True)
    later = status.running(vmi(**status.as_json(found)), DOMAIN, LEASES, NOW)
    assert later.fs_freeze_status is None
    assert condition(later, "Ready") == ("True", None)
    assert condition(later, "HotMemoryChange") is None
    assert [volume.name for volume in later.volume_status] == ["root", "seed"]


def test_a_paused_guest_is_not_ready_because_it_is_paused() -> None:
    found = status.running(
        vmi(), DOMAIN._replace(state="paused", reason="user"), LEASES, NOW, status.Kept(not_ready="no answer")
    )
    assert condition(found, "Ready") == ("False", "GuestPaused")


def test_processors_that_came_are_told() -> None:
    known = {
        "currentCPUTopology": {"sockets": 1, "cores": 2, "threads": 1},
        "conditions": [{"type": "HotVCPUChange", "status": "True"}],
    }
    seen = vmi(**known)
    seen.spec.domain.cpu = from_builtins({"sockets": 3, "cores": 2, "threads": 1}, CPU)
    waiting = status.running(seen, DOMAIN._replace(vcpus=2), LEASES, NOW)
    assert waiting.current_cpu_topology is not None
    assert (waiting.current_cpu_topology.sockets, condition(waiting, "HotVCPUChange")) == (1, ("True", None))
    there = status.running(seen, DOMAIN._replace(vcpus=6), LEASES, NOW)
    assert there.current_cpu_topology is not None
    assert (there.current_cpu_topology.sockets, condition(there, "HotVCPUChange")) == (3, None)


def test_an_interface_only_the_guest_knows_is_told_behind_the_others() -> None:
    inner = GuestNic("docker0", "02:42:00:00:00:01", ("172.17.0.1",))
    told = GuestFacts(
        from_builtins({}, VirtualMachineInstanceGuestOSInfo),
        (GuestNic("lo", "00:00:00:00:00:00", ()), inner),
        version="1.0",
        commands=("guest-ping",),
    )
    found = status.running(vmi(), DOMAIN._replace(agent_connected=True), LEASES, NOW, status.Kept(facts=told))
    first, second = found.interfaces
    assert (first.name, second.name, second.ip_address) == ("default", None, "172.17.0.1")
    assert second.info_source == "guest-agent"
    alone = vmi()
    alone.spec.domain.devices.interfaces = []
    assert status.running(alone, DOMAIN._replace(nics=()), {}, NOW, status.Kept(facts=told)).interfaces == []
    assert condition(found, "AgentVersionNotSupported") == ("True", "UnsupportedCommands")
    assert condition(status.ended(vmi(**status.as_json(found)), END), "AgentVersionNotSupported") is None


END = End("Succeeded", "GuestShutdown", "", NOW)


def test_memory_that_was_plugged_is_told() -> None:
    before = vmi(memory={"guestAtBoot": "1Gi", "guestCurrent": "1Gi", "guestRequested": "1Gi"})
    coming = status.Kept(memory=MemoryProgress("1536Mi", "2Gi", "True", "MemoryChanging", "on its way"))
    found = status.running(before, DOMAIN, LEASES, NOW, coming)
    assert found.memory is not None
    assert (found.memory.guest_current, found.memory.guest_requested) == ("1536Mi", "2Gi")
    assert condition(found, "HotMemoryChange") == ("True", "MemoryChanging")
    there = status.Kept(memory=MemoryProgress("2Gi", "2Gi"))
    later = status.running(vmi(**status.as_json(found)), DOMAIN, LEASES, NOW, there)
    assert later.memory is not None
    assert (later.memory.guest_at_boot, later.memory.guest_current) == ("1Gi", "2Gi")
    assert condition(later, "HotMemoryChange") is None


def test_the_claim_of_a_volume_is_told_and_stays() -> None:
    claim = PersistentVolumeClaimInfo(claim_name="c", capacity={"storage": "1Gi"})
    found = status.running(vmi(), DOMAIN, LEASES, NOW, status.Kept(claims={"root": claim}))
    assert {volume.name: volume.persistent_volume_claim_info for volume in found.volume_status} == {
        "root": claim,
        "seed": None,
    }
    later = status.running(vmi(**status.as_json(found)), DOMAIN, LEASES, NOW)
    assert later.volume_status == found.volume_status


def test_a_guest_stopped_by_its_disk_says_which_and_why() -> None:
    stopped = DOMAIN._replace(state="paused", reason="ioerror")
    plain = status.running(vmi(), stopped, LEASES, NOW)
    (paused,) = [each for each in plain.conditions if each.type == "Paused"]
    assert paused.message == "VMI was paused, low-level IO error detected"
    full = with_disk_errors(stopped, {"vda": 2, "vdz": 1, "vdb": 0})
    (paused,) = [each for each in status.running(vmi(), full, LEASES, NOW).conditions if each.type == "Paused"]
    assert (paused.reason, paused.message) == (
        "PausedIOError",
        "VMI was paused, low-level IO error detected: the disk of volume 'root' has no space left on this node, "
        "the disk of volume 'vdz' can't be read or written",
    )
