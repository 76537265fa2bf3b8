"""virtctl validate: every mistake with its line, a form for programs, and the object as it would be stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_program import Run

GOOD = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: good
spec:
  runStrategy: Halted
  template:
    spec:
      domain:
        memory: {guest: 64Mi}
        devices:
          interfaces:
          - {name: a, masquerade: {}}
          - {name: b, bridge: {}}
      networks:
      - {name: a, pod: {}}
      - {name: b, multus: {networkName: x}}
"""
BAD = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata:
  name: bad
spec:
  domain:
    memory: {guest: 64Mi}
    devices:
      disks:
      - name: a
        disk:
          bus: zzz
      - name: b
        cache: nope
  volumes:
  - name: a
    emptyDisk: {capacity: 1Gi}
  - name: b
    emptyDisk: {capacity: 1Gi}
"""
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
DISKS = "spec.domain.devices.disks"
BUS = f"{DISKS}[0] is set with an unrecognized bus zzz, must be one of: [virtio scsi sata usb]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text(GOOD + "---\n" + SECRET)
    (tmp_path / "bad.yaml").write_text(BAD)
    return tmp_path


def test_valid(virtctl: Run, folder: Path) -> None:
    path = folder / "good.yaml"
    result = virtctl("validate", "-f", str(path))
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f'{path}:1: VirtualMachine "good": valid',
        f'{path}:19: Secret "s": not checked, it is of another API',
    ]


def test_every_mistake_with_its_line(virtctl: Run, folder: Path) -> None:
    path = folder / "bad.yaml"
    result = virtctl("validate", "-f", str(path), "-f", str(folder / "good.yaml"))
    assert result.code == 1
    assert result.out.splitlines()[:2] == [
        f"{path}:12: {DISKS}[0].disk.bus: {BUS}",
        f"{path}:14: {DISKS}[1].cache has invalid value nope",
    ]
    assert result.err.startswith("1 of 3 objects is invalid")


def test_for_programs(virtctl: Run, folder: Path) -> None:
    result = virtctl("validate", "-f", str(folder), "-o", "json")
    assert result.code == 1
    answer = json.loads(result.out)
    assert answer["valid"] is False
    bad, good, secret = answer["objects"]
    assert bad["causes"][0] == {
        "line": 12,
        "field": f"{DISKS}[0].disk.bus",
        "reason": "FieldValueInvalid",
        "message": BUS,
    }
    assert (bad["name"], bad["valid"], bad["checked"]) == ("bad", False, True)
    assert (good["kind"], good["valid"], good["causes"]) == ("VirtualMachine", True, [])
    assert (secret["kind"], secret["valid"], secret["checked"]) == ("Secret", True, False)


def test_unreadable_files_do_not_hide_the_others(virtctl: Run, folder: Path) -> None:
    broken = folder / "a-broken.yaml"
    broken.write_text("kind: [\n")
    result = virtctl("validate", "-f", str(folder))
    assert result.code == 1
    assert result.out.splitlines()[0].startswith(f"{broken}, line 2: ")
    assert "good.yaml:1" in result.out
    answer = json.loads(virtctl("validate", "-f", str(folder), "-o", "json").out)
    assert answer["objects"][0]["file"] == str(broken)
    assert answer["objects"][0]["causes"][0]["line"] == 2


def test_old_spellings_are_noted(virtctl: Run, tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(GOOD.replace("kubevirt.io/v1", "kubevirt.io/v1alpha3"))
    result = virtctl("validate", "-f", str(path))
    assert result.code == 0
    assert result.out.splitlines()[0] == f"{path}:1: note: apiVersion: kubevirt.io/v1alpha3 is kubevirt.io/v1 today"


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_defaulted(virtctl: Run, folder: Path, form: str) -> None:
    result = virtctl("validate", "--defaulted", "-f", str(folder / "good.yaml"), "-o", form)
    assert (result.code, result.err) == (0, "")
    stored: list[dict[str, Any]] = (
        list(yaml.safe_load_all(result.out)) if form == "yaml" else json.loads(result.out)["items"]
    )
    spec = stored[0]["spec"]["template"]["spec"]
    assert spec["domain"]["machine"] == {"type": "q35"}
    macs = [interface["macAddress"] for interface in spec["domain"]["devices"]["interfaces"]]
    assert len(set(macs)) == 2
    assert all(mac.startswith("52:54:00:") for mac in macs)
    assert stored[1] == yaml.safe_load(SECRET)


def test_a_defaulted_instance_is_pending(virtctl: Run, tmp_path: Path) -> None:
    path = tmp_path / "vmi.yaml"
    path.write_text(BAD.replace("zzz", "virtio").replace("nope", "none"))
    stored = json.loads(virtctl("validate", "--defaulted", "-f", str(path), "-o", "json").out)
    assert stored["status"]["phase"] == "Pending"
    assert stored["metadata"]["finalizers"]
    assert stored["metadata"]["annotations"] == {"kubevirt.io/pci-topology-version": "v3"}


def test_what_is_invalid_is_not_stored(virtctl: Run, folder: Path) -> None:
    result = virtctl("validate", "--defaulted", "-f", str(folder))
    assert (result.code, result.out) == (1, "")
    assert BUS in result.err


def test_nothing_to_check(virtctl: Run, tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("---\n")
    assert virtctl("validate", "-f", str(path)).code == 1
    assert virtctl("validate", "-f", str(path), "-o", "xml").code == 1


MANY = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: many}
spec:
  runStrategy: Alway
  template:
    spec:
      domian: {}
      domain:
        memory: {guest: 1Gib}
        devices:
          disk: []
          disks:
          - name: root
            disk: {bus: ide}
      volumes:
      - name: root
        emptyDisk: {capacity: 1Gi}
---
apiVersion: instancetype.kubevirt.io/v1beta1
kind: VirtualMachineInstancetype
metadata: {name: size}
spec: {cpu: {guest: "1"}, memory: {guest: 1Gi, overcommitPercent: 300}}
---
kind: VirtualMachine
metadata: {name: nothing}
---
apiVersion: apps/v1
kind: VirtualMachine
metadata: {name: elsewhere}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachin
metadata: {name: misspelt}
---
a: 1
---
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {nam: x}
---
apiVersion: vmoperator.vmware.com/v1
kind: VirtualMachine
metadata: {name: somebody-elses}
"""
SAID = """\
m.yaml:5: spec.runStrategy: Invalid RunStrategy (Alway)
m.yaml:8: unknown field "spec.template.spec.domian", did you mean "domain"?
m.yaml:10: spec.template.spec.domain.memory.guest: "1Gib" is no quantity like 64Mi, 2Gi or 500m
m.yaml:12: unknown field "spec.template.spec.domain.devices.disk", did you mean "disks"?
m.yaml:15: spec.template.spec.domain.devices.disks[0].disk.bus: IDE bus is not supported
m.yaml:23: spec.cpu.guest must be of type integer, not string
m.yaml:23: spec.memory.overcommitPercent: 300 should be less than or equal to 100
m.yaml:25: apiVersion is missing, use apiVersion "kubevirt.io/v1"
m.yaml:28: no matches for kind "VirtualMachine" in version "apps/v1", use apiVersion "kubevirt.io/v1"
m.yaml:33: no matches for kind "VirtualMachin" in version "kubevirt.io/v1", did you mean "VirtualMachine"?
m.yaml:36: kind is missing: what is this object?
m.yaml:38: spec is missing
m.yaml:40: unknown field "metadata.nam", did you mean "name"?
m.yaml:42: VirtualMachine "somebody-elses": not checked, it is of another API
"""


def test_all_is_told_at_once_in_the_order_of_the_file_and_for_people(virtctl: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(MANY)
    result = virtctl("validate", "-f", str(path))
    assert result.out.replace(f"{tmp_path}/", "") == SAID
    assert (result.code, result.err) == (1, "7 of 8 objects are invalid\n")


def test_programs_get_the_words_of_the_api(virtctl: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(MANY)
    size = json.loads(virtctl("validate", "-f", str(path), "-o", "json").out)["objects"][1]
    message = 'Invalid value: "string": spec.cpu.guest in body must be of type integer: "string"'
    assert size["causes"][0] == {
        "line": 23,
        "field": "spec.cpu.guest",
        "reason": "FieldValueTypeInvalid",
        "message": message,
    }


def test_a_file_comes_after_its_flag_and_from_this_machine(virtctl: Run, folder: Path) -> None:
    bare = virtctl("validate", "good.yaml")
    assert (bare.code, bare.out) == (1, "")
    assert "validate -f good.yaml" in bare.err
    remote = virtctl("validate", "-f", "https://example.org/vm.yaml")
    assert remote.code == 1
    assert "not fetched from the network" in remote.err
