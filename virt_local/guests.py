"""Shutting down this cluster's guests, for `virtctl local down --guests stop`, when its components have ended.

Straight through libvirt: nobody restarts what we stop. At the next `up` the node agent finds the guests ended and
reports so, and the run strategies decide.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from virt_handler.domains import read_domain
from virt_handler.records import Records
from virt_local.errors import HostError
from virt_local.settings import Places

if TYPE_CHECKING:
    import libvirt

POLL = 0.25


class _Guest(NamedTuple):
    domain: libvirt.virDomain
    grace: int  # seconds it has to shut down before it is switched off


def stop_all(places: Places, *, say: Callable[[str], None]) -> None:
    """ACPI shutdown for every guest recorded below `places`; power off after its grace period. Raises HostError."""
    import libvirt

    libvirt.registerErrorHandler(lambda *_: None, None)
    uri = "qemu:///system" if os.geteuid() == 0 else "qemu:///session"
    try:
        connection = libvirt.open(uri)
        try:
            _stop(_ours(connection, places), say)
        finally:
            connection.close()
    except libvirt.libvirtError as err:
        raise HostError(f"guests can't be stopped through {uri}: {err}", hint="see virtctl local doctor") from None


def _ours(connection: libvirt.virConnect, places: Places) -> list[_Guest]:
    """Running domains that our node agent has made: their metadata name the instance of one of its records.

    A uuid alone proves nothing: users choose it, and two clusters may share a libvirt.
    """
    import libvirt

    records = {record.uid: record for record in Records(places.records).load() if record.stage != "preparing"}
    found = []
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        with contextlib.suppress(libvirt.libvirtError):  # it ended by itself meanwhile
            record = records.get(read_domain(domain.XMLDesc(), *domain.state()).vmi_uid)
            if record is not None:
                found.append(_Guest(domain, record.grace_seconds))
    return found


def _stop(guests: list[_Guest], say: Callable[[str], None]) -> None:
    import libvirt

    for guest in guests:
        with contextlib.suppress(libvirt.libvirtError):  # it is switched off in the end
            guest.domain.shutdown()
    began = time.monotonic()
    while guests := [guest for guest in guests if _active(guest.domain)]:
        for domain, grace in guests:
            if time.monotonic() - began >= grace:
                say(f"Switching off {domain.name()}: it did not shut down within {grace} seconds.")
                with contextlib.suppress(libvirt.libvirtError):  # it ended by itself meanwhile
                    domain.destroy()
        time.sleep(POLL)


def _active(domain: libvirt.virDomain) -> bool:
    import libvirt

    try:
        return bool(domain.isActive())
    except libvirt.libvirtError:
        return False
