"""Files out of the distribution's packages, without installing them.

The demo guest is made of the distribution's own kernel, busybox and boot loader. `apt-get download` needs no root, and
what is fetched stays in the cache, so a second build asks no mirror.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

# The kernel package made for virtual machines; the first one the distribution knows is taken.
KERNEL_PACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual", "linux-image-amd64")
# A kernel with drivers for real hardware too, which a machine can be made to look like: SATA, USB, network cards.
FULL_KERNEL_PACKAGES = ("linux-image-amd64", "linux-image-generic")
_KERNEL_PARTS = re.compile(r"Depends: (linux-(?:image|modules)-\d[\w.+-]*)")


class PackageError(Exception):
    """A package can't be had; the message is for the person who builds."""


def _apt(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise PackageError(f"{' '.join(command)} failed: {reason} (was `apt-get update` ever run here?)")
    return done.stdout


def _candidate(name: str) -> str:
    found = re.search(r"Candidate: (\S+)", _apt("apt-cache", "policy", name))
    return found[1] if found and found[1] != "(none)" else ""


def kernel_packages(metas: tuple[str, ...] = KERNEL_PACKAGES) -> list[str]:
    """The packages that hold the kernel image and its modules, e.g. `linux-image-6.1.0-56-cloud-amd64`."""
    meta = next((name for name in metas if _candidate(name)), None)
    if meta is None:
        raise PackageError(f"this distribution has none of the kernel packages {', '.join(metas)}")
    images = _KERNEL_PARTS.findall(_apt("apt-cache", "depends", "--important", meta))
    modules = [part for image in images for part in _KERNEL_PARTS.findall(_apt("apt-cache", "depends", image))]
    return list(dict.fromkeys(part for part in images + modules if _candidate(part)))


def has(name: str) -> bool:
    """Whether the distribution offers the package."""
    return bool(_candidate(name))


def fetch(names: list[str], cache: Path) -> list[Path]:
    """The .deb files of `names` at the distribution's current versions, downloaded unless the cache has them."""
    cache.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not _cached(name, cache)]
    if missing:
        _apt("apt-get", "download", "-q", *missing, cwd=cache)
    return [found for name in names if (found := _cached(name, cache) or _none(name))]


def _cached(name: str, cache: Path) -> Path | None:
    version = _candidate(name).replace(":", "%3a")
    return next(iter(sorted(cache.glob(f"{name}_{version}_*.deb"))), None)


def _none(name: str) -> Path:
    raise PackageError(f"apt-get downloaded no file for package {name}")


def members(deb: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """(path without leading ./, content) of the regular files in `deb` that `wanted` says yes to."""
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as unpack,
        tarfile.open(fileobj=unpack.stdout, mode="r|") as tar,
    ):
        for entry in tar:
            path = entry.name.removeprefix("./")
            if entry.isfile() and wanted(path) and (content := tar.extractfile(entry)):
                yield path, content.read()
    if unpack.returncode:
        raise PackageError(f"dpkg-deb could not read {deb}; delete it and try again")
