"""`./run demo`: from nothing to a guest's own words, with the commands a user would type.

Everything lives in one temporary directory and in libvirt; both are left as they were found, unless `--keep` is given.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

from examples.demo import guest, image, packages
from examples.demo.shell import DemoError, Shell, program

MACHINE = "vm-cirros"
MANIFEST = Path(os.path.relpath(Path(__file__).parents[1])) / "vm-cirros.yaml"
IMAGE = "kubevirt/cirros-container-disk-demo:latest"
LIBVIRT, NETWORK = "qemu:///system", "virtctl"
SCRIPT_SAYS = "printed from cloud-init userdata"
LOGIN = "login:"
LOG_LINES = 15
SHORT_PATH = "/tmp"  # noqa: S108 - mkdtemp works in it; unix socket paths below it must stay under 108 bytes


class Demo:
    """The steps, in the order they are run."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.state, self.sockets = work / "state", work / "run"
        self.shell = Shell({"KUBECONFIG": str(self.state / "kubeconfig"), "PYTHONUNBUFFERED": "1"})
        self.virtctl = program("virtctl")
        self._had_network = self.shell.quiet("virsh", "-c", LIBVIRT, "net-info", NETWORK)
        self._places = ("--state-dir", str(self.state), "--run-dir", str(self.sockets))

    def build_image(self) -> Path:
        """The guest as a container disk in an OCI layout, and the manifest that asks for it."""
        self.shell.step("Build a small bootable disk from the distribution's packages, and pack it as a container disk")
        built = guest.build()
        layout = self.work / "images"
        digest = image.add(layout, IMAGE, built.path)
        self.shell.note(f"  {IMAGE} -> {layout} ({digest[:19]}, {built.path.stat().st_size >> 20} MiB)")
        return self._manifest(built.memory)

    def _manifest(self, needed: int) -> Path:
        """The documents' manifest as it is; a copy that asks for more memory where the kernel can't do with it."""
        machine = yaml.safe_load(MANIFEST.read_text())
        requests = machine["spec"]["template"]["spec"]["domain"]["resources"]["requests"]
        if needed <= int(requests["memory"].removesuffix("M")) * 10**6:
            return MANIFEST
        requests["memory"] = f"{needed // 10**6 + 64}M"
        self.shell.note(
            f"  This distribution's kernel needs more than the manifest's 64M: {requests['memory']} instead."
        )
        copy = self.work / MANIFEST.name
        copy.write_text(yaml.safe_dump(machine))
        return copy

    def up(self) -> None:
        self.shell.step("Start the one-machine cluster; images of docker.io come from the directory just written")
        mirror = f"docker.io=oci:{self.work / 'images'}"
        self.shell.run(self.virtctl, "local", "up", *self._places, "--registry-mirror", mirror)
        self.shell.note(f"  $ export KUBECONFIG={self.shell.environment['KUBECONFIG']}")

    def create(self, manifest: Path) -> None:
        self.shell.step("Create the VirtualMachine; with running: false there is no instance yet")
        self.shell.run(self.virtctl, "apply", "-f", str(manifest), expect=MACHINE)
        self.shell.run(self.virtctl, "list", "vm", expect="Stopped")
        self.shell.run(self.virtctl, "list", "vmi", expect="No resources found")

    def start(self) -> None:
        self.shell.step("Start it and read its console")
        self.shell.run(self.virtctl, "start", MACHINE, "--wait", "--timeout", "3m")
        if SCRIPT_SAYS not in self.shell.console(self.virtctl, MACHINE, until=LOGIN):
            raise DemoError(f"the guest did not run its cloud-init script: no {SCRIPT_SAYS!r} on its console")

    def connect(self) -> int:
        """Expose the guest's web server on a port of this machine and fetch its page; returns the port."""
        self.shell.step("Expose the guest's port 80 and connect to it")
        port = _free_port()
        where = ("--port", "80", "--type", "NodePort", "--node-port", str(port))
        self.shell.run(self.virtctl, "expose", "vm", MACHINE, "--name", f"{MACHINE}-web", *where)
        self.shell.note(f"  $ curl http://127.0.0.1:{port}/")
        page = _fetch(f"http://127.0.0.1:{port}/", within=20)
        if MACHINE not in page:
            raise DemoError(f"the page of the guest does not carry its name: {page!r}")
        self.shell.good(f"  {page.strip()}")
        return port

    def restart_and_stop(self) -> None:
        self.shell.step("Restart it, then stop it")
        self.shell.run(self.virtctl, "restart", MACHINE, "--wait", "--timeout", "3m")
        self.shell.console(self.virtctl, MACHINE, until=LOGIN)
        self.shell.run(self.virtctl, "stop", MACHINE, "--wait", "--timeout", "1m")
        self.shell.run(self.virtctl, "list", "vm", expect="Stopped")

    def clean_up(self) -> None:
        self.shell.step("Clean up")
        self.shell.run(self.virtctl, "delete", "vm", MACHINE)
        self.shell.run(self.virtctl, "local", "down", "--guests", "stop", *self._places)
        if not self._had_network:
            # `local down` keeps the network for the next `up`; here there is none.
            for verb in ("net-destroy", "net-undefine"):
                self.shell.quiet("virsh", "-c", LIBVIRT, verb, NETWORK)

    def abandon(self) -> None:
        """After a failure: say where to look, stop what runs, keep the logs."""
        log = self.state / "log" / "local.log"
        if log.exists():
            self.shell.bad(f"\nThe last lines of {log}:")
            for line in log.read_text(errors="replace").splitlines()[-LOG_LINES:]:
                self.shell.bad(f"  {line}")
        self.shell.bad(f"Everything else is in {self.work}. `virtctl local doctor` checks this machine.")
        if not (self.state / "kubeconfig").exists():
            return
        with contextlib.suppress(DemoError):
            self.shell.run(self.virtctl, "delete", "vm", MACHINE, "--ignore-not-found", "--timeout", "30s")
        with contextlib.suppress(DemoError):
            self.shell.run(self.virtctl, "local", "down", "--guests", "stop", *self._places)

    def next_steps(self, port: int) -> None:
        self.shell.step("It keeps running. What to type next:")
        print(
            f"  export KUBECONFIG={self.shell.environment['KUBECONFIG']} PATH={Path(self.virtctl).parent}:$PATH\n"
            f"  virtctl console {MACHINE}          # user cirros, password gocubsgo; leave with Ctrl+]\n"
            f"  curl http://127.0.0.1:{port}/\n"
            "  kubectl get vms,vmis               # where kubectl is installed\n"
            "and when you have seen enough:\n"
            f"  virtctl delete vm {MACHINE}\n"
            f"  virtctl local down {' '.join(self._places)} && rm -r {self.work}"
        )


def _free_port() -> int:
    """A port of the NodePort range that nobody listens on."""
    for port in range(30080, 30180):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise DemoError("ports 30080 to 30179 are all taken on 127.0.0.1")


def _fetch(url: str, within: float) -> str:
    """The page at `url`; the service needs a moment until it knows the guest's address."""
    deadline = time.monotonic() + within
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - http on loopback
                return str(answer.read().decode())
        except OSError as error:
            if time.monotonic() > deadline:
                raise DemoError(f"{url} did not answer within {within:.0f} seconds: {error}") from error
            time.sleep(0.5)


def main() -> int:
    """Run the demo; 0 when every step did what it said."""
    parser = argparse.ArgumentParser(prog="./run demo --", description="Boot a guest and look around, in two minutes.")
    parser.add_argument("--keep", action="store_true", help="leave the guest running and say what to type next")
    keep = parser.parse_args().keep
    work = Path(tempfile.mkdtemp(prefix="virtctl-demo-", dir=SHORT_PATH))
    work.chmod(0o755)  # QEMU's user must get through
    demo = Demo(work)
    try:
        manifest = demo.build_image()
        demo.up()
        demo.create(manifest)
        demo.start()
        port = demo.connect()
        if keep:
            demo.next_steps(port)
            return 0
        demo.restart_and_stop()
        demo.clean_up()
    except (DemoError, packages.PackageError) as error:
        demo.shell.bad(f"\nThe demo failed: {error}")
        demo.abandon()
        return 1
    except KeyboardInterrupt:
        demo.shell.bad("\nInterrupted.")
        demo.abandon()
        return 130
    shutil.rmtree(work)
    demo.shell.step("Done: nothing is left running, and the temporary files are gone.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
