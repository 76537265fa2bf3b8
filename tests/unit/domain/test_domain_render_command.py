"""`virt-handler render` as its user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from domain_guests import GOLDEN, parsed
from typer.testing import CliRunner

from virt_handler.render import render_command

CIRROS = str(GOLDEN / "cirros.yaml")
NOCLOUD = str(GOLDEN / "nocloud.yaml")
DOMAIN = "  domain: {memory: {guest: 64Mi}, devices: {%s}}"
HEAD = "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: a}\nspec:\n"

app = typer.Typer()
app.command()(render_command)


def run(*arguments: str, text: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), input=text)
    return result.exit_code, result.stdout, result.stderr


def test_prints_a_vms_domain_the_same_every_time() -> None:
    first, second = run("-f", CIRROS), run("-f", CIRROS)
    assert first == second
    assert first[0] == 0
    root = parsed(first[1])
    assert (root.get("type"), root.findtext("name")) == ("qemu", "default_vm-cirros")
    assert root.find("sysinfo/system/entry[@name='serial']") is not None


def test_kvm() -> None:
    assert '<domain type="kvm">' in run("-f", CIRROS, "--kvm")[1]


def test_writes_a_file_per_guest(tmp_path: Path) -> None:
    code, out, _ = run("-f", CIRROS, "-f", NOCLOUD, "-o", str(tmp_path / "new"))
    assert (code, out) == (0, "")
    assert sorted(path.name for path in tmp_path.rglob("*.xml")) == ["testvmi-nocloud.xml", "vm-cirros.xml"]


def test_reads_standard_input_and_old_versions() -> None:
    text = (HEAD + DOMAIN % "").replace("kubevirt.io/v1", "kubevirt.io/v1alpha3")
    code, out, err = run("-f", "-", text=text)
    assert code == 0
    assert "<name>default_a</name>" in out
    assert "kubevirt.io/v1alpha3 is kubevirt.io/v1 today" in err


def test_one_bad_manifest_does_not_stop_the_next() -> None:
    bad = HEAD.replace("name: a", "name: ''") + DOMAIN % ""
    code, out, err = run("-f", "-", text=f"{bad}\n---\n{HEAD}{DOMAIN % ''}")
    assert code == 1
    assert "<name>default_a</name>" in out
    assert err.startswith("error: stdin:1: metadata.name must be a text without slashes")


def test_what_stands_beside_machines_is_passed_over() -> None:
    code, out, err = run("-f", "-", text=f"kind: Secret\napiVersion: v1\n---\n{HEAD}{DOMAIN % ''}")
    assert code == 0
    assert "<name>default_a</name>" in out
    assert err == "stdin:1: v1 'Secret' makes no guest: passed over\n"


BAD = [
    ("", "has nothing that becomes a domain"),
    ("kind: Pod\napiVersion: v1", "has nothing that becomes a domain (stdin:1: v1 'Pod'"),
    ("kind: VirtualMachine\napiVersion: apps/v1", "'VirtualMachine' makes no guest"),
    ("a: [", "line 2"),
    (HEAD + DOMAIN % "disks: 3", "spec.domain.devices.disks"),
    (HEAD + DOMAIN % "disk: []", 'unknown field "spec.domain.devices.disk"'),
    (HEAD + DOMAIN % "disks: [{name: x, disk: {}}]", "x"),
    (HEAD.replace("name: a", "name: ../a") + DOMAIN % "", "without slashes, not '../a'"),
    (HEAD + DOMAIN.replace("64Mi", "12Q") % "", "12Q"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_bad_input_is_one_paragraph_and_exit_code_1(text: str, message: str) -> None:
    code, out, err = run("-f", "-", text=text)
    assert (code, out) == (1, "")
    assert err.startswith("error: stdin")
    assert message in err
    assert "Traceback" not in err
    assert "\n\n" not in err


def test_a_missing_file() -> None:
    code, _, err = run("-f", "/does/not/exist.yaml")
    assert code == 1
    assert "error: /does/not/exist.yaml: no such file or directory" in err


REFUSED = [
    # devices, who refuses it, why
    ("video: {type: vga}, autoattachGraphicsDevice: false", "admission", "spec.domain.devices.video: Video"),
    ("inputs: [{name: i}]", "admission", "spec.domain.devices.inputs[0].type: Required value"),
    ("disks: [{name: d, cdrom: {bus: usb}}, {name: e, lun: {bus: sata}}]", "libvirt", "a LUN is on a SCSI bus"),
]
VOLUME = "\n  volumes: [{name: e, persistentVolumeClaim: {claimName: e}}]"


@pytest.mark.parametrize(("devices", "who", "why"), REFUSED)
def test_what_would_be_refused_is_rendered_and_said_unless_strict(devices: str, who: str, why: str) -> None:
    text = HEAD + DOMAIN % devices + (VOLUME if "lun" in devices else "")
    shown, strict = run("-f", "-", text=text), run("-f", "-", "--strict", text=text)
    assert shown[0] == 0
    assert parsed(shown[1]).tag == "domain"
    assert f"stdin:1: {who} will refuse this: " in shown[2]
    assert why in shown[2]
    assert strict[:2] == (1, "")
    assert why in strict[2]


def test_what_is_no_domain_at_all_is_refused_in_admissions_words() -> None:
    code, out, err = run("-f", "-", text=HEAD + DOMAIN % "disks: [{name: ghost}], sound: {name: s, model: sb16}")
    assert (code, out) == (1, "")
    assert "spec.domain.devices.disks[0].Name 'ghost' not found" in err
    assert "Sound device type is not supported" in err, "all of it at once"


TEMPLATE = "{spec: {domain: {memory: {guest: 64Mi}, devices: {autoattachPodInterface: false}}}}"
REPLICAS = f"""apiVersion: kubevirt.io/v1
kind: VirtualMachineInstanceReplicaSet
metadata: {{name: web, namespace: shop}}
spec: {{replicas: 3, selector: {{}}, template: {TEMPLATE}}}
"""
POOL = f"""apiVersion: pool.kubevirt.io/v1beta1
kind: VirtualMachinePool
metadata: {{name: pool}}
spec: {{replicas: 2, selector: {{}}, virtualMachineTemplate: {{spec: {{runStrategy: Always, template: {TEMPLATE}}}}}}}
"""


def test_replicas_are_rendered_one_by_one_each_with_its_own_identity(tmp_path: Path) -> None:
    code, _, err = run("-f", "-", "-o", str(tmp_path), text=f"{REPLICAS}---\n{POOL}")
    assert (code, err) == (0, "")
    domains = {path.stem: parsed(path.read_text()) for path in tmp_path.iterdir()}
    assert sorted(domains) == ["pool-0", "pool-1", "web-0", "web-1", "web-2"]
    assert domains["web-2"].findtext("name") == "shop_web-2"
    assert len({root.findtext("uuid") for root in domains.values()}) == 5
    assert domains["pool-0"].find("sysinfo/system/entry[@name='serial']") is not None  # a pool makes VMs


def test_machines_of_one_name_get_files_of_their_own(tmp_path: Path) -> None:
    other = REPLICAS.replace("shop", "bar")
    code, _, err = run("-f", "-", "-o", str(tmp_path), text=f"{REPLICAS}---\n{other}---\n{REPLICAS}")
    assert code == 1
    assert "shop/web-0 is there twice" in err
    assert parsed((tmp_path / "web-0.xml").read_text()).findtext("name") == "shop_web-0"
    assert parsed((tmp_path / "bar_web-0.xml").read_text()).findtext("name") == "bar_web-0"


TYPES = [
    (REPLICAS.replace("replicas: 3", "replicas: many"), "spec.replicas"),
    (REPLICAS.replace("replicas: 3", "replicas: 10001"), "spec.replicas 10001 is more than"),
    (REPLICAS.replace(TEMPLATE, "[]"), "spec.template"),
    (REPLICAS.replace("selector: {}, ", "").replace(TEMPLATE, "{spec: [1]}"), "spec.template.spec"),
    (POOL.replace("runStrategy: Always, template", "template: 3, x"), "spec.virtualMachineTemplate.spec.template"),
    (HEAD.replace("spec:", "spec: 3\nstatus:") + DOMAIN % "", "spec"),
    (HEAD.replace("{name: a}", "[]") + DOMAIN % "", "metadata"),
]


@pytest.mark.parametrize(("text", "field"), TYPES)
def test_a_wrong_type_is_refused(text: str, field: str) -> None:
    code, out, err = run("-f", "-", text=text)
    assert (code, out) == (1, "")
    assert field in err
    assert "Traceback" not in err


def node(tmp_path: Path, text: str) -> str:
    path = tmp_path / "node.yaml"
    path.write_text(text)
    return str(path)


CELL = "{id: 0, cpus: [{id: 4, siblings: [4, 5]}, {id: 5, siblings: [4, 5]}], memory: {amount: 1}}"
PINNED = HEAD + DOMAIN.replace("devices", "cpu: {cores: 1, threads: 2, dedicatedCpuPlacement: true}, devices") % ""


def test_a_node_of_the_users_own(tmp_path: Path) -> None:
    described = node(tmp_path, f"numa_cells: [{CELL}]\nemulator: /opt/qemu")
    code, out, err = run("-f", "-", "--node", described, text=PINNED)
    assert (code, err) == (0, "")
    root = parsed(out)
    assert [pin.get("cpuset") for pin in root.iterfind("cputune/vcpupin")] == ["4", "5"]
    assert root.findtext("devices/emulator") == "/opt/qemu"


def test_what_the_node_is_too_old_for_is_said(tmp_path: Path) -> None:
    pool = "ioThreadsPolicy: supplementalPool, ioThreads: {supplementalPoolThreadCount: 2}, devices"
    described = node(tmp_path, "{name: oldie, libvirt_version: 9.0.0}")
    code, out, err = run("-f", "-", "--node", described, text=HEAD + DOMAIN.replace("devices", pool) % "")
    assert code == 0
    assert "<iothreads>" in out
    assert "stdin:1: spec.domain.ioThreads: disks do not use the pool" in err
    assert "(libvirt 9.0 on oldie is too old)" in err


def test_what_libvirt_will_refuse_is_said_beside_the_domain() -> None:
    disks = DOMAIN % "disks: [{name: a, lun: {bus: sata}}]"
    volumes = "\n  volumes: [{name: a, persistentVolumeClaim: {claimName: a}}]"
    code, out, err = run("-f", "-", text=HEAD + disks + volumes)
    assert code == 0
    assert 'device="lun"' in out
    assert "stdin:1: libvirt will refuse this: spec.domain.devices.disks[0].lun.bus 'sata'" in err


NO_NODE = [
    ("libvirt_version: new", "'new' is no version - at `$.libvirt_version`"),
    ("colour: red", "unknown field `colour`"),
    ("numa_cells: 3", "$.numa_cells"),
    ("a: [", "neither YAML nor JSON"),
    ("numa_cells: []", "node preview has 0"),
]


@pytest.mark.parametrize(("text", "message"), NO_NODE)
def test_a_node_file_that_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    code, out, err = run("-f", "-", "--node", node(tmp_path, text), text=PINNED)
    assert (code, out) == (1, "")
    assert message in err
    assert "Traceback" not in err
