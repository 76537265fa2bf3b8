"""virtctl validate: machines are judged together with the instancetypes and preferences of the same files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cli_program import Run

SIZE = """\
apiVersion: instancetype.kubevirt.io/v1beta1
kind: VirtualMachineClusterInstancetype
metadata: {name: small}
spec: {cpu: {guest: 2}, memory: {guest: 1Gi}}
"""
PREFERENCE = """\
apiVersion: instancetype.kubevirt.io/v1beta1
kind: VirtualMachinePreference
metadata: {name: big}
spec: {requirements: {cpu: {guest: 4}}, machine: {preferredMachineType: pc-q35-7.2}}
"""
MACHINE = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: a}
spec:
  runStrategy: Halted
  instancetype: {name: small}
  template: {spec: {domain: {devices: {}}}}
"""
WANTED = MACHINE.replace("  template:", "  preference: {kind: VirtualMachinePreference, name: big}\n  template:")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    texts = {"size": SIZE, "preference": PREFERENCE, "machine": MACHINE, "wanted": WANTED}
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return [str(tmp_path / f"{name}.yaml") for name in texts]


def test_a_reference_nobody_can_follow_is_told_and_allowed(virtctl: Run, files: list[str]) -> None:
    done = virtctl("validate", "-f", files[2])
    assert done.code == 0
    assert (
        'note: spec.instancetype: VirtualMachineClusterInstancetype "small" is not in these files; checked without it'
        in done.out
    )


def test_a_conflict_has_its_line(virtctl: Run, files: list[str]) -> None:
    machine = Path(files[2])
    machine.write_text(MACHINE.replace("devices: {}", "devices: {}\n      , memory: {guest: 1Gi}"))
    done = virtctl("validate", "-f", files[0], "-f", files[2])
    assert done.code == 1
    text = "VM field(s) spec.template.spec.domain.memory.guest conflicts with selected instance type"
    assert f"{machine}:8: {text}" in done.out


def test_a_requirement_that_is_not_met(virtctl: Run, files: list[str]) -> None:
    done = virtctl("validate", "-f", files[0], "-f", files[1], "-f", files[3])
    assert done.code == 1
    assert "failure checking preference requirements: insufficient CPU resources of 2 vCPU" in done.out


def test_as_stored_and_as_expanded(virtctl: Run, files: list[str]) -> None:
    Path(files[1]).write_text(PREFERENCE.replace("guest: 4", "guest: 2"))
    together = [word for name in (files[3], files[0], files[1]) for word in ("-f", name)]
    stored = next(yaml.safe_load_all(virtctl("validate", "--defaulted", *together).out))
    assert stored["spec"]["instancetype"] == {"name": "small"}
    assert stored["spec"]["template"]["spec"]["domain"]["machine"] == {"type": "pc-q35-7.2"}
    assert "cpu" not in stored["spec"]["template"]["spec"]["domain"]
    expanded = next(yaml.safe_load_all(virtctl("validate", "--expanded", *together).out))
    assert "instancetype" not in expanded["spec"]
    assert "preference" not in expanded["spec"]
    assert expanded["spec"]["template"]["spec"]["domain"]["cpu"] == {"sockets": 2, "cores": 1, "threads": 1}


def test_nothing_is_expanded_by_what_is_not_there(virtctl: Run, files: list[str]) -> None:
    done = virtctl("validate", "--expanded", "-f", files[2])
    assert (done.code, done.out) == (1, "")
    assert 'VirtualMachineClusterInstancetype "small" is not in these files' in done.err


OLD = """\
apiVersion: kubevirt.io/v1alpha1
kind: VirtualMachinePreset
metadata: {name: small}
spec:
  selector: {matchLabels: {size: small}}
  domain: {resources: {requests: {memory: 64M}}}
---
apiVersion: kubevirt.io/v1alpha1
kind: VirtualMachine
metadata: {name: a, labels: {size: small}}
spec: {domain: {devices: {}}}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: b}
spec: {runStrategy: Always, template: {metadata: {labels: {size: small}}, spec: {domain: {devices: {}}}}}
"""


def test_presets_of_2018_give_memory(virtctl: Run, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(OLD)
    assert virtctl("validate", "-f", str(tmp_path / "old.yaml")).code == 0
    stored = list(yaml.safe_load_all(virtctl("validate", "--defaulted", "-f", str(tmp_path / "old.yaml")).out))
    assert stored[1]["spec"]["domain"]["memory"] == {"guest": "64M"}
    assert stored[1]["metadata"]["annotations"]["virtualmachinepreset.kubevirt.io/small"] == "kubevirt.io/v1"
    (tmp_path / "old.yaml").write_text(OLD.replace("size: small}}\n  domain", "size: large}}\n  domain"))
    done = virtctl("validate", "-f", str(tmp_path / "old.yaml"))
    assert (done.code, done.out.count("no memory requested")) == (1, 2)
