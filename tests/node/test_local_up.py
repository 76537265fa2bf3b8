"""`virtctl local` without guests: up, again, in parts, killed, refused, merged, down."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.local_cluster import WITHOUT_NODE, LocalCluster, eventually

VM = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "vm1"},
    "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}}}},
}


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with tempfile.TemporaryDirectory(prefix="vl") as root:
        cluster = LocalCluster(Path(root))
        yield cluster
        cluster.down()


@pytest.mark.kubectl
def test_up_twice_status_and_down(cluster: LocalCluster) -> None:
    first = cluster.up(WITHOUT_NODE)
    assert "The cluster is up." in first.stdout
    assert f"export KUBECONFIG={cluster.state}/kubeconfig" in first.stdout
    pids = cluster.pids()
    assert "up already" in cluster.up(WITHOUT_NODE).stdout
    assert cluster.pids() == pids
    status = cluster.status()
    assert status["health"] == "ok"
    assert {each["state"] for each in status["processes"][0]["components"].values()} == {"running"}
    assert cluster.get("storageclass", "local")["metadata"]["name"] == "local"
    assert cluster.get("namespace", "default")["status"]["phase"] == "Active"
    assert f"{cluster.run}" not in cluster.local("status").stdout.splitlines()[0]
    assert "Stopped api" in cluster.local("down").stdout
    again = cluster.local("down", check=False)
    assert (again.returncode, "nothing to stop" in again.stderr) == (1, True)
    assert cluster.local("status", check=False).returncode == 1


@pytest.mark.kubectl
def test_each_component_as_its_own_process(cluster: LocalCluster) -> None:
    for name in WITHOUT_NODE.split(","):
        cluster.up(name)
    assert len(set(cluster.pids().values())) == 5
    cluster.apply(VM)
    cluster.virtctl("start", "vm1")
    eventually(lambda: cluster.get("vmi", "vm1"))
    for name in ("controllers", "subresources", "storage", "proxy", "api"):
        cluster.kill(name)
        assert "The cluster is up." in cluster.up(name).stdout
    cluster.virtctl("stop", "vm1")
    eventually(lambda: not cluster.get("vmi")["items"])


@pytest.mark.kubectl
def test_kill_9_loses_nothing_that_was_acknowledged(cluster: LocalCluster) -> None:
    cluster.up(WITHOUT_NODE)
    cluster.apply(VM)
    before = cluster.get("vm", "vm1")
    for round_ in range(3):
        created = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"round-{round_}"}}
        cluster.apply(created)
        cluster.kill("api")
        cluster.up(WITHOUT_NODE)
        assert cluster.get("configmap", f"round-{round_}")["metadata"]["name"] == f"round-{round_}"
    after = cluster.get("vm", "vm1")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"] == before["spec"]


@pytest.mark.kubectl
def test_the_subresource_api_as_a_program_of_its_own(cluster: LocalCluster) -> None:
    cluster.up("api,controllers")
    cluster.apply(VM)
    without = cluster.virtctl("start", "vm1", check=False)
    assert (without.returncode, "the subresource API does not answer" in without.stderr) == (1, True)
    command = [
        sys.executable,
        "-m",
        "virt_api",
        "--kubeconfig",
        str(cluster.state / "pki" / "virt-api.kubeconfig"),
        "--socket",
        str(cluster.run / "virt-api.sock"),
    ]
    program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        eventually((cluster.run / "virt-api.sock").exists)
        cluster.virtctl("start", "vm1")
    finally:
        program.terminate()
        _, log = program.communicate(timeout=20)
    assert program.returncode == 0, log
    assert "state change accepted verb=start namespace=default name=vm1 user=virtctl-admin" in log
    assert cluster.get("vm", "vm1")["spec"]["runStrategy"] == "Always"


def test_what_was_half_done_is_done_again(cluster: LocalCluster) -> None:
    (cluster.state / "pki").mkdir(parents=True)
    (cluster.state / "pki" / "ca.crt").write_text("")
    (cluster.state / "kubeconfig").write_text("{")
    cluster.run.mkdir()
    (cluster.run / "local.json").write_text('{"processes": [{"pid": 1, "start_time": 5}]}')
    (cluster.run / "virt-api.sock").write_text("")
    assert "The cluster is up." in cluster.up("api,subresources").stdout


def test_certificates_that_can_not_be_read_end_the_wait(cluster: LocalCluster) -> None:
    (cluster.state / "pki").mkdir(parents=True)
    for name in ("ca.crt", "ca.key"):
        (cluster.state / "pki" / name).write_text("no certificate")
    began = time.monotonic()
    done = cluster.up("api", check=False)
    assert done.returncode == 1
    assert f"the certificates in {cluster.state}/pki can't be used" in done.stderr
    assert f"Remove {cluster.state}/pki" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert time.monotonic() - began < 30


def test_refusals_say_what_to_do(cluster: LocalCluster) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        busy = cluster.up("api", "--listen", f"127.0.0.1:{port}", check=False)
    assert busy.returncode == 1
    assert f"can't listen on 127.0.0.1:{port}" in busy.stderr
    assert "--listen HOST:PORT" in busy.stderr
    for arguments, words in (
        (("--listen", "nowhere"), '"nowhere" is not HOST:PORT'),
        (("--registry-mirror", "docker.io"), '"docker.io" is not PREFIX=LOCATION'),
        (("--accelerator", "warp"), '"warp" is none of auto, kvm, qemu'),
        (("--components", "apii"), '"apii" is none of api, subresources'),
    ):
        done = cluster.local("up", *arguments, check=False)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
        assert "Traceback" not in done.stderr


def test_a_directory_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a file")
    done = LocalCluster(tmp_path).up("api", check=False)
    assert done.returncode == 1
    assert f"can't use the directory {tmp_path}/s" in done.stderr
    long = LocalCluster(tmp_path / ("x" * 60))
    done = long.up("api", check=False)
    assert "too long for unix sockets" in done.stderr


def test_kubeconfig_merges_into_another(cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = cluster.local("kubeconfig", check=False)
    assert (absent.returncode, "virtctl local up" in absent.stderr) == (1, True)
    cluster.up("api")
    assert json.loads(cluster.local("kubeconfig").stdout)["current-context"] == "virtctl-local"
    target = tmp_path / "config"
    mine = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "work",
        "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me"}}],
        "clusters": [{"name": "work", "cluster": {"server": "https://work"}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }
    target.write_text(yaml.safe_dump(mine))
    command = ["local", "kubeconfig", "--merge", "--state-dir", str(cluster.state)]
    for _ in range(2):
        monkeypatch.setattr(cluster, "environment", lambda: {**os.environ, "KUBECONFIG": str(target)})
        cluster.virtctl(*command)
    merged = yaml.safe_load(target.read_text())
    assert merged["current-context"] == "work"
    assert [each["name"] for each in merged["contexts"]] == ["work", "virtctl-local"]
    assert target.stat().st_mode & 0o777 == 0o600
    target.write_text("- not\n- a kubeconfig\n")
    done = cluster.virtctl(*command, check=False)
    assert (done.returncode, "holds no kubeconfig" in done.stderr) == (1, True)
    assert target.read_text() == "- not\n- a kubeconfig\n"


def test_doctor_names_the_command_that_installs_what_is_missing(tmp_path: Path) -> None:
    places = ["--state-dir", str(tmp_path / "s"), "--run-dir", str(tmp_path / "r")]
    done = subprocess.run(
        [sys.executable, "-c", DOCTOR, "doctor", *places],
        env={**os.environ, "PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "qemu-system-x86" in done.stdout.splitlines()[-1]
    assert "missing qemu-img" in done.stdout


# Programs outside PATH are looked for where only root has them; here nothing is anywhere.
DOCTOR = """
from virt_local import doctor
from virt_local.cli import app
doctor.find_program = lambda name: None
app()
"""
