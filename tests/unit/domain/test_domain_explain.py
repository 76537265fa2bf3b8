"""`virt-handler explain-domain`: every element's origin is one that really changes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from domain_guests import GOLDEN, golden_manifest, minimal, with_disks
from typer.testing import CliRunner

from virt_handler.domain import preview, render
from virt_handler.domain.preview import NODE
from virt_handler.explain import explain_command
from virt_handler.instances import instance_of, sources_of
from virt_handler.provenance import Explained, Item, Origin, explain, items_of

app = typer.Typer()
app.command()(explain_command)


def explained(obj: dict[str, Any]) -> Explained:
    return explain(sources_of(obj)[0][0], NODE, validate=False)


def of(found: Explained, element: str, attribute: str = "") -> list[tuple[str, str]]:
    return [tuple(origin) for origin in found.origins[Item(element, attribute)][1]]


MACHINE = with_disks(
    {"name": "a", "disk": {"bus": "virtio"}, "serial": "S"},
    {"name": "b", "disk": {}},
    cpu={"cores": 2},
    clock={"utc": {}, "timer": {"rtc": {"tickPolicy": "catchup"}}},
)
DISKS = "spec.domain.devices.disks"
ORIGINS = [
    ("", "type", [("node", "accelerator")]),
    ("/name", "#", [("manifest", "metadata.name"), ("manifest", "metadata.namespace")]),
    ("/memory", "#", [("manifest", "spec.domain.memory.guest")]),
    ("/cpu", "mode", [("default", "spec.domain.cpu.model: host-model")]),
    ("/cpu/topology", "cores", [("manifest", "spec.domain.cpu.cores")]),
    ("/os/smbios", "mode", []),
    ("/features/acpi", "", [("default", "spec.domain.features.acpi.enabled: true")]),
    ("/clock", "", [("manifest", "spec.domain.clock")]),
    ("/clock/timer[rtc]", "tickpolicy", [("manifest", "spec.domain.clock.timer.rtc.tickPolicy")]),
    ("/clock/timer[rtc]", "", [("manifest", "spec.domain.clock.timer.rtc")]),
    ("/devices/disk[a]/target", "bus", [("manifest", f"{DISKS}[0].disk.bus")]),
    ("/devices/disk[a]/serial", "#", [("manifest", f"{DISKS}[0].serial")]),
    ("/devices/disk[b]/target", "bus", [("default", f"{DISKS}[1].disk.bus: sata")]),
    ("/devices/disk[b]/driver", "type", [("node", "volume b")]),
    ("/devices/memballoon", "model", [("unset", "spec.domain.devices.autoattachMemBalloon")]),
]


@pytest.fixture(scope="module")
def machine() -> Explained:
    return explained(MACHINE)


@pytest.mark.parametrize(("element", "attribute", "origins"), ORIGINS)
def test_origins(element: str, attribute: str, origins: list[tuple[str, str]], machine: Explained) -> None:
    assert of(machine, element, attribute) == origins


def test_a_name_is_followed_to_everything_called_by_it(machine: Explained) -> None:
    assert of(machine, "/devices/disk[a]/alias", "name") == [
        ("manifest", f"{DISKS}[0].name"),
        ("manifest", "spec.volumes[0].name"),
    ]


def test_fields_are_named_as_in_the_users_own_object() -> None:
    inside = {"spec": MACHINE["spec"]}
    machine = {"runStrategy": "Halted", "template": inside}
    kinds = [
        ("kubevirt.io/v1", "VirtualMachine", machine, "spec.template."),
        ("kubevirt.io/v1", "VirtualMachineInstanceReplicaSet", {"selector": {}, "template": inside}, "spec.template."),
        (
            "pool.kubevirt.io/v1beta1",
            "VirtualMachinePool",
            {"selector": {}, "virtualMachineTemplate": {"spec": machine}},
            "spec.virtualMachineTemplate.spec.template.",
        ),
    ]
    for version, kind, spec, prefix in kinds:
        found = explained({"apiVersion": version, "kind": kind, "metadata": {"name": "m"}, "spec": spec})
        assert of(found, "/memory", "#") == [("manifest", f"{prefix}spec.domain.memory.guest")]
        assert of(found, "/cpu", "mode") == [("default", f"{prefix}spec.domain.cpu.model: host-model")]


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.yaml")))
def test_every_golden_machine_is_explained_whole(name: str) -> None:
    """Nothing of the domain is missing, and everything the manifest names by value comes from the manifest."""
    obj = dict(golden_manifest(name))
    found = explained(obj)
    assert found.origins.keys() == items_of(render(preview(instance_of(obj, validate=False)))).keys()
    kinds = {origin.kind for _, origins in found.origins.values() for origin in origins}
    assert {"manifest", "node"} <= kinds
    serials = [key for key in found.origins if key.element.endswith("/serial") and key.attribute == "#"]
    assert all(origin.text.endswith(".serial") for key in serials for origin in found.origins[key][1])


def run(*arguments: str, text: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), input=text)
    return result.exit_code, result.stdout, result.stderr


def test_prints_section_by_section() -> None:
    code, out, err = run("-f", str(GOLDEN / "windows.yaml"))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    sections = [line for line in lines if line and not line.startswith(" ")]
    assert sections[:5] == ["# windows", "domain", "name", "uuid", "metadata"]
    assert {"disk[c]", "features", "clock", "controller[scsi]"} <= set(sections)
    (line,) = [line for line in lines if "<hyperv/spinlocks>" in line and "retries" in line]
    assert line.split() == [
        "<hyperv/spinlocks>",
        'retries="8191"',
        "spec.domain.features.hyperv.spinlocks.spinlocks",
    ]
    assert "  <rom>" not in out
    assert all("  " in line.strip() for line in lines if line.startswith(" ")), "each line has its origin"


def test_what_cannot_be_explained_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: Pod\n---\n" + (GOLDEN / "cirros.yaml").read_text()
    code, out, err = run("-f", "-", "-f", str(tmp_path / "gone.yaml"), text=text)
    assert code == 1
    assert out.startswith("# vm-cirros\n")
    assert "stdin:1: v1 'Pod' makes no guest: passed over" in err
    assert "gone.yaml: no such file or directory" in err


def test_a_manifest_that_says_nothing_is_all_defaults(tmp_path: Path) -> None:
    text = "apiVersion: kubevirt.io/v1\nkind: {}\nmetadata: {{name: m}}\n"
    for kind in ("VirtualMachineInstance", "VirtualMachine", "VirtualMachineInstanceReplicaSet"):
        code, out, err = run("-f", "-", text=text.format(kind))
        assert code == 0
        assert err.startswith("stdin:1: admission will refuse this: "), "a machine without memory"
        assert 'mode="host-model"' in out


def test_an_element_nobody_asked_for_says_how_to_be_rid_of_it() -> None:
    found = explained(minimal())
    assert of(found, "/devices/video") == [("unset", "spec.domain.devices.autoattachGraphicsDevice")]
    assert Origin("unset", "x") not in found.origins[Item("/os/smbios", "")][1]
