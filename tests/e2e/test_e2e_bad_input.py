"""Bad input through the real command line: a paragraph with field, value and way out; exit code 1; nothing created."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.e2e_cluster import Cluster, eventually

pytestmark = pytest.mark.libvirt

Change = Callable[[dict[str, Any]], object]


def guest_spec(vm: dict[str, Any]) -> Any:
    return vm["spec"]["template"]["spec"]


def assert_refused(done: Any, *words: str) -> None:
    """A refusal as people should see it."""
    shown = done.stdout + done.stderr
    assert done.returncode == 1, shown
    assert "Traceback" not in shown
    assert len(shown) < 2000, "one paragraph, not a wall"
    for word in words:
        assert re.search(word, shown), f"{word!r} is missing in:\n{shown}"


YAML_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefghi")
)

MISTAKES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "wrong type": (
        lambda vm: guest_spec(vm)["domain"].update(cpu={"cores": "two"}),
        (r"spec\.template\.spec\.domain\.cpu\.cores", "string", "integer"),
    ),
    "unknown field": (
        lambda vm: guest_spec(vm)["domain"]["devices"].update(dsks=[]),
        (r"domain\.devices\.dsks",),
    ),
    "missing volume": (
        lambda vm: guest_spec(vm)["volumes"].pop(0),
        (r"disks\[0\]\.[nN]ame", "not found|no matching|matching volume"),
    ),
    "two disks of one name": (
        lambda vm: guest_spec(vm)["domain"]["devices"]["disks"].append(guest_spec(vm)["domain"]["devices"]["disks"][0]),
        (r"disks\[2\]", "same [nN]ame|unique|[dD]uplicate"),
    ),
    "quantity": (
        lambda vm: guest_spec(vm)["domain"]["resources"]["requests"].update(memory="12Q"),
        (r"resources\.requests\.memory|memory", "12Q"),
    ),
    "name with a quote": (lambda vm: vm["metadata"].update(name="it's"), ("metadata.name", "it's")),
    "name with a slash": (lambda vm: vm["metadata"].update(name="a/b"), ("a/b",)),
    "name with a control character": (lambda vm: vm["metadata"].update(name="a\x1bb"), ("name",)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_manifest(cluster: Cluster, mistake: str) -> None:
    change, words = MISTAKES[mistake]
    machine = json.loads(cluster.machine("mistaken"))
    change(machine)
    before = cluster.kubectl("get", "vm", "-o", "name").stdout
    assert_refused(cluster.virtctl("apply", "-f", "-", ok=False, stdin=json.dumps(machine)), *words)
    assert cluster.kubectl("get", "vm", "-o", "name").stdout == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", ("[nN]o objects|empty|nothing",), id="empty"),
        pytest.param("kind: VirtualMachine\n  name: [", ("line",), id="not YAML"),
        pytest.param("just words", ("object|mapping",), id="no object"),
        pytest.param("x: " + "a" * (20 << 20), ("MiB|bytes|large|MB",), id="20 MB"),
        pytest.param(
            YAML_BOMB,
            ("alias",),
            id="YAML bomb",
        ),
    ],
)
def test_a_manifest_that_is_none(cluster: Cluster, text: str, words: tuple[str, ...], tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(text)
    assert_refused(cluster.virtctl("apply", "-f", str(manifest), ok=False), *words)


@pytest.mark.parametrize(
    ("image", "path", "words"),
    [
        pytest.param("kubevirt/no-such-image:latest", "", ("no-such-image",), id="missing image"),
        pytest.param("kubevirt/cirros-container-disk-demo:latest", "/disk/none.img", ("none.img",), id="missing path"),
    ],
)
def test_an_image_that_cannot_be_used_is_told_on_the_machine(
    cluster: Cluster, vm: str, image: str, path: str, words: tuple[str, ...]
) -> None:
    machine = json.loads(cluster.machine(vm, running=True))
    disk = next(volume for volume in guest_spec(machine)["volumes"] if "containerDisk" in volume)["containerDisk"]
    disk["image"] = image
    if path:
        disk["path"] = path
    cluster.virtctl("apply", "-f", "-", stdin=json.dumps(machine))

    def told() -> str:
        described = "".join(cluster.kubectl("describe", kind, vm, ok=False).stdout for kind in ("vm", "vmi"))
        statuses = "".join(re.split("^Status:$", described, flags=re.MULTILINE)[1:])
        return described if all(re.search(word, statuses) for word in words) else ""

    shown = eventually(told, within=60, what=f"{words} in describe")
    assert "Traceback" not in shown
    # Stop and delete end in bounded time in this state too.
    cluster.virtctl("stop", vm, "--wait", "--timeout", "30s")


def test_a_container_disk_path_that_climbs_is_refused(cluster: Cluster) -> None:
    machine = json.loads(cluster.machine("climber"))
    disk = next(volume for volume in guest_spec(machine)["volumes"] if "containerDisk" in volume)["containerDisk"]
    disk["path"] = "/disk/../../etc/shadow"
    assert_refused(
        cluster.virtctl("apply", "-f", "-", ok=False, stdin=json.dumps(machine)),
        r"volumes\[0\]\.containerDisk",
        "relative components",
    )


def test_unknown_machine(cluster: Cluster) -> None:
    for verb in ("start", "stop", "restart"):
        assert_refused(cluster.virtctl(verb, "nobody", ok=False), 'virtualmachine.*"nobody" not found')


def test_unreadable_kubeconfig(cluster: Cluster, tmp_path: Path) -> None:
    cluster_environment = dict(cluster.environment)
    cluster.environment["KUBECONFIG"] = str(tmp_path)
    try:
        assert_refused(cluster.virtctl("start", "x", ok=False), re.escape(str(tmp_path)))
    finally:
        cluster.environment.update(cluster_environment)


def test_dead_server(cluster: Cluster, tmp_path: Path) -> None:
    dead = tmp_path / "kubeconfig"
    dead.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:9", cluster.kubeconfig.read_text()))
    done = cluster.virtctl("--kubeconfig", str(dead), "start", "x", ok=False)
    assert_refused(done, "127.0.0.1:9", "refused")


def test_debug_shows_where_it_happened(cluster: Cluster) -> None:
    assert "Traceback" in cluster.virtctl("--debug", "start", "nobody", ok=False).stderr
