"""What a real guest sees from inside of what it was given, while it runs too."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import full_guest
import pytest
from node_cluster import manifest

from examples.demo import image
from virt_handler.volumes.objects import CONFIG_MAPS
from virt_kube.resources import PERSISTENT_VOLUME_CLAIMS, VIRTUAL_MACHINE_INSTANCES

pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.slow]

IMAGE = "example/full-guest:v1"
BOOT = 90
# Memory that is plugged in stays offline until somebody says online: a distribution's udev does, this guest's init not.
LOOK = """#!/bin/sh
exec > /dev/ttyS0 2>&1
echo online > /sys/devices/system/memory/auto_online_blocks
for tag in data conf; do mkdir -p /mnt/$tag && mount -t virtiofs $tag /mnt/$tag; done
echo "shared $(cat /mnt/data/dir/greeting) $(cat /mnt/conf/key) $(ls /mnt/conf)"
echo reply > /mnt/data/reply && chmod 4755 /mnt/data/reply && chmod 777 /mnt/data
ln -s /etc/passwd /mnt/data/link
i=0
while [ $i -lt 600 ]; do
    now=$(sed -n 's/MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo)
    [ "$now" = "$last" ] || echo "memory $now"
    last=$now i=$((i + 1))
    usleep 250000
done
"""


async def patch(cluster: Any, name: str, path: str, value: Any) -> None:
    operation = {"op": "add", "path": f"/spec/{path}", "value": value}
    await cluster.handler.client.patch(VIRTUAL_MACHINE_INSTANCES, "default", name, [operation])


def said(log: Path, pattern: str) -> list[str]:
    text = log.read_text(errors="replace").replace("\r", "") if log.exists() else ""
    return re.findall(pattern, text, re.MULTILINE)


async def test_files_are_shared_and_memory_is_given_and_taken_back(cluster: Any, home: Path) -> None:
    """One guest for both: what is plugged into it must be shared memory too, for the virtiofs daemons."""
    image.add(home / "layout", IMAGE, await asyncio.to_thread(full_guest.build))
    await cluster.admin.create(CONFIG_MAPS, "default", {"metadata": {"name": "conf"}, "data": {"key": "value"}})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}}}
    await cluster.admin.create(PERSISTENT_VOLUME_CLAIMS, "default", {"metadata": {"name": "data"}, "spec": claim})
    files = cluster.options.layout.volumes / "default/data/files/root"
    (files / "dir").mkdir(parents=True)
    (files / "dir/greeting").write_text("hello")
    base = manifest("grows")["spec"]["domain"]
    devices = {
        "disks": [{"name": name, "disk": {"bus": "virtio"}} for name in ("boot", "seed")],
        "filesystems": [{"name": name, "virtiofs": {}} for name in ("data", "conf")],
    }
    domain = {**base, "memory": {"guest": "1Gi", "maxGuest": "2Gi"}, "devices": devices}
    volumes = [
        {"name": "boot", "containerDisk": {"image": IMAGE}},
        {"name": "seed", "cloudInitNoCloud": {"userData": LOOK}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "conf", "configMap": {"name": "conf"}},
    ]
    status = {"memory": {"guestAtBoot": "1Gi", "guestCurrent": "1Gi", "guestRequested": "1Gi"}}
    spec = {"domain": domain, "volumes": volumes, "networks": []}
    vmi = await cluster.create("grows", spec=spec, status=status)
    log = Path(cluster.options.layout.files(vmi["metadata"]["uid"]).serial_log)

    async def seen() -> list[int]:
        return [int(amount) for amount in await asyncio.to_thread(said, log, r"^memory (\d+)")]

    async def told() -> tuple[str, str]:
        """Amount, and what the condition says of a change."""
        found = (await cluster.get("grows"))["status"]
        change = [each["message"] for each in found["conditions"] if each["type"] == "HotMemoryChange"]
        return found["memory"]["guestCurrent"], "".join(change)

    async def has(amount: str) -> bool:
        return await told() == (amount, "")

    (booted,) = await cluster.until(seen, BOOT)
    assert said(log, "^shared .*") == ["shared hello value key"]
    assert (files / "reply").read_text() == "reply\n"
    assert files.parent.stat().st_mode & 0o777 == 0o700, "the guest's programs are not for other users of the machine"
    shares = cluster.options.layout.guest_shares(vmi["metadata"]["uid"])
    assert [path.name for path in shares.iterdir()] == ["conf"]
    assert not (files.parent.parent / "disk.img").exists()

    await patch(cluster, "grows", "domain/memory/guest", "1536Mi")
    await cluster.until(lambda: has("1536Mi"), 30)

    async def more() -> bool:
        return max(await seen()) > booted + (500 << 10)

    await cluster.until(more, 30)
    assert (await cluster.get("grows"))["status"]["memory"]["guestRequested"] == "1536Mi"

    await cluster.stop_agent()
    await patch(cluster, "grows", "domain/memory/guest", "1280Mi")
    cluster.start_agent()
    await cluster.until(lambda: has("1280Mi"), 30)

    await patch(cluster, "grows", "domain/memory/guest", "3Gi")

    async def refused() -> str:
        return (await told())[1]

    assert "was started with room for 2Gi; restart the VM to give it 3Gi" in await cluster.until(refused, 20)
    await cluster.delete("grows")
    await cluster.until_gone("grows")
    assert not shares.exists()
    assert (files / "link").is_symlink()
