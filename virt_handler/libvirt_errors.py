"""libvirt's error codes as this agent's errors. Called by `libvirt_host`; the tables are what the tests read too."""

from __future__ import annotations

import libvirt

from virt_handler import tpm_store
from virt_handler.errors import (
    DomainConflict,
    DomainRejected,
    GuestAgentError,
    GuestStateError,
    HandlerError,
    HypervisorError,
    HypervisorUnreachable,
    NoSuchGuest,
)

BY_CODE: dict[int, type[HandlerError]] = {
    libvirt.VIR_ERR_NO_DOMAIN: NoSuchGuest,
    libvirt.VIR_ERR_OPERATION_INVALID: GuestStateError,
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE: GuestAgentError,
    libvirt.VIR_ERR_AGENT_UNSYNCED: GuestAgentError,
    libvirt.VIR_ERR_XML_ERROR: DomainRejected,
    libvirt.VIR_ERR_XML_DETAIL: DomainRejected,
    libvirt.VIR_ERR_XML_INVALID_SCHEMA: DomainRejected,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: DomainRejected,
    libvirt.VIR_ERR_NO_CONNECT: HypervisorUnreachable,
    libvirt.VIR_ERR_INVALID_CONN: HypervisorUnreachable,
    libvirt.VIR_ERR_RPC: HypervisorUnreachable,
}
# Whatever these parts of libvirt say, the daemon was not reached.
TRANSPORT = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE, libvirt.VIR_FROM_STREAMS})
# An agent's refusal is one of libvirt's internal errors.
AGENT_SAID = "agent command '"
HINTS: dict[type[HandlerError], str] = {
    HypervisorUnreachable: "is libvirtd running? `virtctl local doctor` tells",
    DomainConflict: "`virsh list --all` shows it; undefine or rename it",
}


def mapped(error: libvirt.libvirtError, doing: str) -> HandlerError:
    """The agent's error for one of libvirt's; `doing` says what was tried, e.g. "start guest default/vm1"."""
    code, text = error.get_error_code(), error.get_error_message() or str(error)
    kind = BY_CODE.get(code, HypervisorError)
    if kind is HypervisorError and AGENT_SAID in text:
        kind = GuestAgentError
    elif kind is HypervisorError and error.get_error_domain() in TRANSPORT:
        kind = HypervisorUnreachable
    elif code == libvirt.VIR_ERR_OPERATION_FAILED and "already exists with uuid" in text:
        kind = DomainConflict
    return kind(f"can't {doing}: {text.strip()}", hint=_tpm_hint(text) or HINTS.get(kind, ""))


def _tpm_hint(text: str) -> str:
    trap = tpm_store.trap() if tpm_store.SETUP_FAILED in text else ""
    return f"{trap}. This mends it: {tpm_store.way_out()}" if trap else ""
