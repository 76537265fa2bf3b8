"""How the guest's health is asked for.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from virt_types.k8s.pods import ExecAction, HTTPGetAction, TCPSocketAction
from virt_types.meta import Base, Int32


class GuestAgentPing(Base, kw_only=True):
    """Asks whether the guest agent answers."""


class Probe(Base, kw_only=True):
    """A question that is asked again and again to see whether the guest is well."""

    exec: ExecAction | None = None
    failure_threshold: Int32 | None = None
    guest_agent_ping: GuestAgentPing | None = None
    http_get: HTTPGetAction | None = None
    initial_delay_seconds: Int32 | None = None
    period_seconds: Int32 | None = None
    success_threshold: Int32 | None = None
    tcp_socket: TCPSocketAction | None = None
    timeout_seconds: Int32 | None = None
