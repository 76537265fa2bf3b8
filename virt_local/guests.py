"""Shutting down this cluster's guests, for `virtctl local down --guests stop`, when its components have ended.

Straight through libvirt: nobody restarts what we stop. At the next `up` the node agent finds the guests ended and
reports so, and the run strategies decide.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from virt_local.errors import HostError
from virt_local.settings import Places

if TYPE_CHECKING:
    import libvirt

METADATA = "http://kubevirt.io"
GRACE = 30.0  # seconds a guest has to shut down before it is switched off
POLL = 0.25


def stop_all(places: Places, *, say: Callable[[str], None], grace: float = GRACE) -> None:
    """ACPI shutdown for every guest with a record below `places`, then power off. Raises HostError."""
    import libvirt

    libvirt.registerErrorHandler(lambda *_: None, None)
    uri = "qemu:///system" if os.geteuid() == 0 else "qemu:///session"
    try:
        connection = libvirt.open(uri)
        try:
            _stop(_ours(connection, places), say, grace)
        finally:
            connection.close()
    except libvirt.libvirtError as err:
        raise HostError(f"guests can't be stopped through {uri}: {err}", hint="see virtctl local doctor") from None


def _ours(connection: libvirt.virConnect, places: Places) -> list[libvirt.virDomain]:
    """Running domains whose metadata names a VMI that our node agent has a record of: never another cluster's."""
    import libvirt

    uids = [record.stem for record in places.records.glob("*.json")]
    found = []
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            metadata = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA, 0)
        except libvirt.libvirtError:
            continue
        if any(uid in metadata for uid in uids):
            found.append(domain)
    return found


def _stop(domains: list[libvirt.virDomain], say: Callable[[str], None], grace: float) -> None:
    import libvirt

    for domain in domains:
        domain.shutdown()
    deadline = time.monotonic() + grace
    while domains and time.monotonic() < deadline:
        time.sleep(POLL)
        domains = [domain for domain in domains if _active(domain)]
    for domain in domains:
        try:
            domain.destroy()
        except libvirt.libvirtError:
            continue  # it ended by itself meanwhile
        say(f"Switched off {domain.name()}: it did not shut down within {grace:.0f} seconds.")


def _active(domain: libvirt.virDomain) -> bool:
    import libvirt

    try:
        return bool(domain.isActive())
    except libvirt.libvirtError:
        return False
