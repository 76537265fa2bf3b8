"""virtctl convert: today's manifests on stdout, what changed on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from cli_program import Run

OLD = """\
apiVersion: kubevirt.io/v1alpha1
kind: OfflineVirtualMachine
metadata: {name: mongodb}
spec:
  running: true
  template:
    spec:
      domain:
        devices:
          disks:
          - {name: d, volumeName: v, disk: {bus: virtio}}
      volumes:
      - {name: v, registryDisk: {image: i}}
"""
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"


def test_to_yaml(virtctl: Run, tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(f"{OLD}---\n{SECRET}")
    result = virtctl("convert", "-f", str(path))
    machine, secret = yaml.safe_load_all(result.out)
    assert (machine["apiVersion"], machine["kind"]) == ("kubevirt.io/v1", "VirtualMachine")
    spec = machine["spec"]["template"]["spec"]
    assert spec["volumes"] == [{"name": "v", "containerDisk": {"image": "i"}}]
    assert spec["domain"]["devices"]["disks"] == [{"name": "v", "disk": {"bus": "virtio"}}]
    assert secret == yaml.safe_load(SECRET)
    notes = result.err.splitlines()
    assert notes[0] == f"{path}:1: kind: OfflineVirtualMachine is VirtualMachine today"
    assert len(notes) == 4


def test_to_json(virtctl: Run, tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    assert json.loads(virtctl("convert", "-f", str(path), "-o", "json").out)["kind"] == "VirtualMachine"
    path.write_text(f"{OLD}---\n{SECRET}")
    listed = json.loads(virtctl("convert", "-f", str(path), "-o", "json").out)
    assert (listed["kind"], len(listed["items"])) == ("List", 2)


def test_what_comes_out_goes_through_unchanged(virtctl: Run, tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    once = virtctl("convert", "-f", str(path)).out
    path.write_text(once)
    twice = virtctl("convert", "-f", str(path))
    assert (twice.out, twice.err) == (once, "")


def test_a_broken_file(virtctl: Run, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("a: [\n")
    result = virtctl("convert", "-f", str(path))
    assert (result.code, result.out) == (1, "")
    assert f"{path}, line 2" in result.err
