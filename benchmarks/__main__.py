"""`./run bench`: what the product promises about speed and size, measured against a peer in the same run.

    python -m benchmarks [--rounds N] [--report docs/performance.md]

Needs root, libvirt and QEMU, like the product itself. Ends with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import api_server, api_types, many_machines, measure
from benchmarks.cluster import BIN, IMAGE, Cluster, cluster, machine_manifest
from benchmarks.domain_xml import domain_cost
from benchmarks.measure import Amount, Ratio, shown
from virt_types.codec import encode

MACHINE = "bench"
MORE_GUESTS = 4
IDLE_SECONDS = 20.0


def start_and_wait(here: Cluster, rounds: int) -> Ratio:
    """From Halted to Running, against `virsh start` of the very same domain under another name."""
    here.virtctl("start", MACHINE, "--wait")
    uri = ["virsh", "--connect", "qemu:///system"]
    xml = subprocess.run(
        [*uri, "dumpxml", "--inactive", f"default_{MACHINE}"], capture_output=True, text=True, check=True
    )
    peer_name = f"bench-peer-{here.state.parent.name}"
    here.virtctl("stop", MACHINE, "--wait")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "peer.xml"
        path.write_text(_renamed(xml.stdout, peer_name, Path(scratch)))
        measure.run([*uri, "define", str(path)], env=here.env)
        try:
            return measure.compare(
                "`virtctl start --wait`, Halted to Running, over `virsh start` of the same domain",
                ours=lambda: _start_ours(here),
                peer=lambda: _start_peer([*uri], peer_name, here),
                rounds=rounds,
                limit=1.5,
            )
        finally:
            measure.run([*uri, "undefine", peer_name], env=here.env)


def _start_ours(here: Cluster) -> float:
    took = measure.seconds(lambda: here.virtctl("start", MACHINE, "--wait"))
    here.virtctl("stop", MACHINE, "--wait")
    time.sleep(1)
    return took


def _start_peer(uri: list[str], name: str, here: Cluster) -> float:
    took = measure.seconds(lambda: measure.run([*uri, "start", name], env=here.env))
    measure.run([*uri, "destroy", name], env=here.env)
    time.sleep(1)
    return took


def _renamed(xml: str, name: str, scratch: Path) -> str:
    """The same domain as another one: own name, uuid and MAC, own overlay over the same image, own sockets."""
    scratch.chmod(0o777)  # QEMU's user makes its sockets here
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own answer
    root.find("name").text = name  # type: ignore[union-attr]
    uuid = root.find("uuid")
    if uuid is not None:
        root.remove(uuid)
    for entry in root.iterfind("sysinfo/system/entry"):
        if entry.get("name") == "uuid":
            root.find("sysinfo/system").remove(entry)  # type: ignore[union-attr]
    for number, disk in enumerate(root.iterfind("devices/disk")):
        _own_disk(disk, scratch / f"disk{number}")
    for mac in root.iterfind("devices/interface/mac"):
        mac.set("address", f"52:54:00:be:{int(time.time()) % 256:02x}:01")
    for element in root.iter():
        for attribute in ("path", "socket", "file"):
            value = element.get(attribute, "")
            if value.startswith("/") and element.tag in ("source", "listen", "log", "graphics") and "vmis" in value:
                element.set(attribute, str(scratch / Path(value).name))
    return ET.tostring(root, encoding="unicode")


def _own_disk(disk: ET.Element, path: Path) -> None:
    source, backing = disk.find("source"), disk.find("backingStore")
    if source is None or backing is None or (file := backing.find("source")) is None:
        return
    image, kind = file.get("file", ""), backing.find("format").get("type", "")  # type: ignore[union-attr]
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", image, str(path)], check=True, capture_output=True
    )
    source.set("file", str(path))


def command_start_up(here: Cluster, rounds: int) -> Ratio:
    """A lifecycle verb that does not wait, TLS and the server's answer included, against an empty interpreter."""
    here.virtctl("start", MACHINE, "--wait")

    def ours() -> float:
        # Refused as "already running": the whole way to the server and back, and the machine stays as it is.
        command = [str(BIN / "virtctl"), "start", MACHINE]
        begin = time.perf_counter()
        refused = subprocess.run(command, env=here.env, capture_output=True, text=True, check=False)
        took = time.perf_counter() - begin
        if "already running" not in refused.stderr:
            raise SystemExit(f"{MACHINE} should be running: {refused.stderr}")
        return took

    def peer() -> float:
        return measure.seconds(lambda: measure.run([sys.executable, "-c", "pass"], env=here.env))

    ratio = measure.compare(
        "`virtctl start NAME`, answered, over `python -c pass`", ours=ours, peer=peer, rounds=rounds * 4, limit=5.0
    )
    here.virtctl("stop", MACHINE, "--wait")
    return ratio


def idle_cost(here: Cluster) -> list[Amount]:
    """Memory and CPU of `local up` with nothing to do, and what guests add to it."""
    pid = here.pid()
    time.sleep(3)
    resident, cpu = measure.resident_bytes(pid), measure.cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    share = (measure.cpu_seconds(pid) - cpu) / IDLE_SECONDS
    names = [f"{MACHINE}{number}" for number in range(MORE_GUESTS + 1)]
    for name in names:
        _apply(here, name)
    here.virtctl("start", names[0], "--wait")  # what the first guest ever loads is not a price per guest
    time.sleep(3)
    before = measure.resident_bytes(pid)
    for name in names[1:]:
        here.virtctl("start", name, "--wait")
    time.sleep(3)
    per_guest = (measure.resident_bytes(pid) - before) / MORE_GUESTS
    for name in names:
        here.virtctl("delete", "vm", name)
    return [
        Amount("`local up` idle, resident", resident / 2**20, "MiB", 150),
        Amount("`local up` idle, of one core", share * 100, "%", 1),
        Amount("one more guest adds outside QEMU", per_guest / 2**20, "MiB", 5),
    ]


def _apply(here: Cluster, name: str) -> None:
    with tempfile.NamedTemporaryFile(suffix=".json") as manifest:
        manifest.write(encode(machine_manifest(name)))
        manifest.flush()
        here.virtctl("apply", "-f", manifest.name)


def table(results: list[Ratio | Amount]) -> str:
    """The results as a Markdown table."""
    rows = ["| what | measured | target | |", "|---|---|---|---|"]
    for result in results:
        verdict = "met" if result.met else "**missed**"
        if isinstance(result, Ratio):
            figures = f"{result.value:.2f} ({shown(result.ours, result.unit)} over {shown(result.peer, result.unit)})"
            rows.append(f"| {result.name} | {figures} | ≤ {result.limit:g} | {verdict} |")
        else:
            limited = math.isfinite(result.limit)
            target = f"≤ {result.limit:.4g} {result.unit} | {verdict}" if limited else "— | to compare with"
            rows.append(f"| {result.name} | {result.value:.1f} {result.unit} | {target} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure virtctl against its peers.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--report", type=Path, help="write the results below the marker of this Markdown file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        results = [
            *_measured(_layout(Path(scratch)), options.rounds),
            *api_types.results(options.rounds * 2),
            *many_machines.results(),
            *api_server.results(),
        ]
    text = f"{datetime.now(UTC):%Y-%m-%d}, {measure.machine()}\n\n{table(results)}\n"
    print(text)
    if options.report:
        head = options.report.read_text().partition("<!-- measured -->")[0]
        options.report.write_text(f"{head}<!-- measured -->\n\n{text}")
    return 0 if all(result.met for result in results) else 1


def _measured(layout: Path, rounds: int) -> list[Ratio | Amount]:
    with cluster(layout) as here:
        idle = idle_cost(here)
        _apply(here, MACHINE)
        return [start_and_wait(here, rounds), command_start_up(here, rounds), *idle, *domain_cost(rounds * 8)]


def _layout(scratch: Path) -> Path:
    from examples.demo import guest, image

    layout = scratch / "layout"
    image.add(layout, IMAGE, guest.build().path)
    return layout


if __name__ == "__main__":
    sys.exit(main())
