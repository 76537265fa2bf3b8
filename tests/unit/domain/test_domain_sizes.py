"""Machines whose size is in another object of the same manifests: rendered, explained, and refused in its words."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import typer
from domain_guests import parsed
from typer.testing import CliRunner

from virt_handler.explain import explain_command
from virt_handler.render import render_command

SHARED = Path(__file__).resolve().parents[4] / "shared"
RECORDED = SHARED / "data" / "domainxml"
SIZES = """\
apiVersion: instancetype.kubevirt.io/v1beta1
kind: VirtualMachineInstancetype
metadata: {name: small, namespace: here}
spec: {cpu: {guest: 2}, memory: {guest: 128Mi}}
---
apiVersion: instancetype.kubevirt.io/v1beta1
kind: VirtualMachineClusterPreference
metadata: {name: old}
spec:
  cpu: {preferredCPUTopology: cores}
  devices: {preferredInterfaceModel: e1000}
"""
MACHINE = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: a, namespace: here}
spec:
  runStrategy: Halted
  instancetype: {kind: VirtualMachineInstancetype, name: small}
  preference: {name: old}
  template: {spec: {domain: {devices: {}}}}
"""
POOL = """\
apiVersion: pool.kubevirt.io/v1beta1
kind: VirtualMachinePool
metadata: {name: a, namespace: here}
spec:
  replicas: 2
  selector: {matchLabels: {a: b}}
  virtualMachineTemplate:
    metadata: {labels: {a: b}}
    spec:
      runStrategy: Always
      instancetype: {kind: virtualmachineinstancetypes, name: small}
      template: {metadata: {labels: {a: b}}, spec: {domain: {devices: {}}}}
"""
app = typer.Typer()
app.command("render")(render_command)
app.command("explain")(explain_command)


@pytest.fixture
def sizes(tmp_path: Path) -> str:
    (tmp_path / "sizes.yaml").write_text(SIZES)
    return str(tmp_path / "sizes.yaml")


def run(*arguments: str, text: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), input=text)
    return result.exit_code, result.stdout, result.stderr


def test_a_size_in_another_file(sizes: str) -> None:
    code, out, err = run("render", "-f", "-", "-f", sizes, text=MACHINE)
    assert (code, err) == (0, "")
    domain = parsed(out)
    topology = domain.find("cpu/topology")
    assert topology is not None
    assert (domain.findtext("memory"), topology.get("cores")) == (str(128 << 20), "2")
    model = domain.find("devices/interface/model")
    assert model is not None
    assert model.get("type") == "e1000"


def test_a_pool_of_that_size(sizes: str) -> None:
    code, out, _ = run("render", "-f", sizes, "-f", "-", text=POOL)
    assert code == 0
    assert out.count(f">{128 << 20}</memory>") == 2


def test_what_is_missing_is_named() -> None:
    code, out, err = run("render", "-f", "-", text=MACHINE)
    assert (code, out) == (1, "")
    assert err == (
        'error: stdin:1: spec.instancetype: VirtualMachineInstancetype "small" is not in these files\n'
        "give the file that has it with -f, too\n"
    )


def test_another_namespaces_size_is_not_this_ones(sizes: str) -> None:
    code, _, err = run("render", "-f", "-", "-f", sizes, text=MACHINE.replace("namespace: here", "namespace: there"))
    assert (code, "is not in these files" in err) == (1, True)


def test_a_size_that_the_machine_contradicts(sizes: str) -> None:
    text = MACHINE.replace("devices: {}", "devices: {}, memory: {guest: 64Mi}")
    code, _, err = run("render", "-f", "-", "-f", sizes, text=text)
    assert code == 1
    assert "VM field(s) spec.template.spec.domain.memory.guest conflicts with selected instance type" in err


def test_sizes_alone_are_no_machines(sizes: str) -> None:
    code, out, err = run("render", "-f", sizes)
    assert (code, out) == (1, "")
    assert err.startswith("error: these files have sizes, preferences and presets only, and no machine")


def test_explains_which_object_a_value_came_from(sizes: str) -> None:
    text = MACHINE.replace("domain: {devices: {}}", "domain: {devices: {}, chassis: {sku: mine}}")
    code, out, _ = run("explain", "-f", "-", "-f", sizes, text=text)
    assert code == 0
    origins = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in out.splitlines() if line.startswith("  <"))
    spec = "spec.template.spec"
    assert origins[f"<memory> {128 << 20}"] == f"instancetype small: {spec}.domain.memory.guest"
    assert origins['<topology> cores="2"'] == f"instancetype small: {spec}.domain.cpu.cores"
    assert origins['<model> type="e1000"'] == f"preference old: {spec}.domain.devices.interfaces[0].model"
    assert f"{spec}.domain.chassis.sku" in origins.values()


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded domains are not beside this checkout")
def test_means_what_kubevirts_domain_means() -> None:
    """From the three objects as they were written, not from the instance KubeVirt had made of them."""
    spec = importlib.util.spec_from_file_location("compare_domain", SHARED / "tools" / "compare_domain.py")
    assert spec is not None
    assert spec.loader is not None
    compare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compare)
    code, out, _ = run("render", "-f", str(RECORDED / "vmi" / "vm-instancetype-preference.yaml"))
    assert code == 0
    expected = compare.parse(RECORDED / "xml" / "vm-instancetype-preference.xml")
    assert list(compare.differences(expected, parsed(out))) == []


def test_presets_beside_the_machine() -> None:
    preset = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstancePreset
metadata: {name: p, namespace: here}
spec: {selector: {matchLabels: {a: b}}, domain: {devices: {}, memory: {guest: 64Mi}}}
---
"""
    machine = MACHINE.replace("{spec: {domain", "{metadata: {labels: {a: b}}, spec: {domain")
    plain = "".join(
        line for line in machine.splitlines(keepends=True) if "name: small" not in line and "old" not in line
    )
    code, out, err = run("render", "-f", "-", text=preset + plain)
    assert (code, err) == (0, "")
    assert parsed(out).findtext("memory") == str(64 << 20)
    code, out, err = run("render", "-f", "-", text=preset + plain.replace("a: b", "a: c"))
    assert (code, parsed(out).findtext("memory")) == (0, "0")
    assert "admission will refuse this: no memory requested" in err
