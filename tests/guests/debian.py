"""The tests' full guest: Debian with its own cloud-init, sshd and guest agent, made by mmdebstrap.

    python -m tests.guests.debian OUTPUT.qcow2

Building takes about a minute and a half, so the disk is kept in a cache and built again only when the recipe changes.
Needs root, as mmdebstrap and the file system's owners do.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from examples.demo import disk, guest, packages

SUITE = "bookworm"
DISK_SIZE = "1536M"
COMMAND_LINE = "console=tty0 console=ttyS0,115200 mitigations=off audit=0 net.ifnames=0"

PACKAGES = (
    "cloud-init",
    "dbus",
    "iproute2",
    "linux-image-cloud-amd64",
    "openssh-server",
    "qemu-guest-agent",
    "sudo",
    "systemd-sysv",
    "udev",
)

# Files put on top of Debian's own, to save seconds under software emulation. None changes how a guest behaves
# towards the product: cloud-init still finds its NoCloud seed by itself.
FILES = {
    "etc/fstab": "",
    "etc/resolv.conf": "",
    "etc/ssh/sshd_config.d/50-password.conf": "PasswordAuthentication yes\n",
    "etc/cloud/cloud.cfg.d/50-no-packages.cfg": "package_update: false\nlocale: false\nmanage_etc_hosts: true\n",
    "etc/initramfs-tools/conf.d/small": "MODULES=list\nCOMPRESS=lz4\n",
    "etc/systemd/system.conf.d/quick.conf": "[Manager]\nDefaultTimeoutStopSec=15s\n",
}
INITRAMFS_MODULES = "virtio_pci virtio_blk virtio_net ext4"
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-networkd-wait-online.service",
)

_HOOKS = (
    *(f'mkdir -p "$1/{Path(path).parent}" && printf "%b" {content!r} > "$1/{path}"' for path, content in FILES.items()),
    f'printf "%s\\n" {INITRAMFS_MODULES} > "$1/etc/initramfs-tools/modules"',
    'chroot "$1" update-initramfs -u',
    f'chroot "$1" systemctl mask {" ".join(MASKED)}',
    'chroot "$1" systemctl enable systemd-networkd serial-getty@ttyS0',
    # Host keys and the machine's identity are made at first boot.
    'rm -f "$1"/etc/ssh/ssh_host_* && : > "$1/etc/machine-id"',
    'rm -rf "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/*',
)


def build(cache: Path | None = None) -> Path:
    """The guest's qcow2 disk, from the cache when its recipe is unchanged."""
    cache = cache or guest.cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"debian-{_recipe()}.qcow2"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            _build(target, cache, Path(scratch))
    return target


def _recipe() -> str:
    sources = (Path(__file__), Path(disk.__file__))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]


def _build(target: Path, cache: Path, work: Path) -> None:
    tree = work / "tree"
    hooks = [f"--customize-hook={hook}" for hook in _HOOKS]
    include = f"--include={','.join(PACKAGES)}"
    _run("mmdebstrap", "--quiet", "--variant=minbase", include, *hooks, SUITE, str(tree))
    system = disk.System(
        kernel=_newest(tree, "vmlinuz-*"),
        initramfs=_newest(tree, "initrd.img-*"),
        command_line=COMMAND_LINE,
        root=work / "root.ext4",
    )
    _run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", str(tree), str(system.root), DISK_SIZE)
    files = guest.boot_files(packages.fetch(list(guest.TOOLS), cache / "packages"))
    raw = work / "disk.raw"
    disk.write(raw, system, guest.boot_loader(files, work), work)
    built = work / "disk.qcow2"
    _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(built))
    built.replace(target)


def _newest(tree: Path, pattern: str) -> bytes:
    return max((tree / "boot").glob(pattern)).read_bytes()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")


def main() -> None:
    """Build the guest and copy it to the path given."""
    parser = argparse.ArgumentParser(description="Build the tests' Debian guest (qcow2).")
    parser.add_argument("output", type=Path)
    parser.add_argument("--cache", type=Path, default=None)
    options = parser.parse_args()
    shutil.copyfile(build(options.cache), options.output)


if __name__ == "__main__":
    main()
