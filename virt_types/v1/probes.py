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
    """Failures in a row that count; default 3."""
    guest_agent_ping: GuestAgentPing | None = None
    http_get: HTTPGetAction | None = None
    initial_delay_seconds: Int32 | None = None
    """Seconds after the start until it is asked for the first time; default 0."""
    period_seconds: Int32 | None = None
    """Seconds between two questions; default 10."""
    success_threshold: Int32 | None = None
    """Successes in a row after a failure that count; default 1, and 1 for liveness."""
    tcp_socket: TCPSocketAction | None = None
    timeout_seconds: Int32 | None = None
    """Seconds an answer may take; default 1."""
