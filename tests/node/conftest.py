"""Fixtures of the node tests: libvirt, a directory QEMU may enter, a cluster with an agent (see node_cluster)."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

libvirt = pytest.importorskip("libvirt")

from node_cluster import NETWORK, URI, Cluster, boot_sector, opened, sweep, write_layout  # noqa: E402


@pytest.fixture
def connection() -> Iterator[Any]:
    """The test's own view of libvirt."""
    try:
        conn = libvirt.open(URI)
    except libvirt.libvirtError as error:
        pytest.skip(f"no libvirt at {URI}: {error}")
    yield conn
    conn.close()


@pytest.fixture
def home(connection: Any, _network_ends: None) -> Iterator[Path]:
    """A short directory that QEMU's user may pass through, with one image; guests left there are ended."""
    path = Path(tempfile.mkdtemp(prefix="vh", dir="/tmp"))
    path.chmod(0o711)
    write_layout(path / "layout", "kubevirt/boot-sector:v1", boot_sector())
    yield path
    sweep(connection, path / "state")
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def cluster(home: Path) -> AsyncIterator[Cluster]:
    async with opened(home) as result:
        result.start_agent()
        yield result


@pytest.fixture(scope="session")
def _network_ends() -> Iterator[None]:
    """The session's own libvirt network goes with it."""
    yield
    with contextlib.suppress(libvirt.libvirtError):
        conn = libvirt.open(URI)
        try:
            network = conn.networkLookupByName(NETWORK)
            if network.isActive():
                network.destroy()
            network.undefine()
        finally:
            conn.close()
