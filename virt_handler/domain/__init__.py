"""VMI -> libvirt domain XML. Pure: everything about the host comes in with the Guest.

`render` is what the node agent and `virt-handler render` call. A device is one tuple in context.py, one function in a
section module, one partial in templates/ and one golden file in tests/unit/domain/golden/.
"""

from __future__ import annotations

from virt_handler.domain.build import build
from virt_handler.domain.console import REDIRECTIONS
from virt_handler.domain.cpu import dedicated_processors
from virt_handler.domain.firmware import has_ignition
from virt_handler.domain.layout import lay_out
from virt_handler.domain.obstacles import obstacles, refuse
from virt_handler.domain.omissions import omissions
from virt_handler.domain.preview import preview
from virt_handler.domain.proof import UnsafeTextError, named, prove
from virt_handler.model import Guest

__all__ = [
    "REDIRECTIONS",
    "build",
    "dedicated_processors",
    "has_ignition",
    "obstacles",
    "omissions",
    "preview",
    "refuse",
    "render",
]


def render(guest: Guest) -> str:
    """The domain XML of a guest; raises RenderError for what can't be, or must not be, a domain."""
    domain = build(guest)
    try:
        text = lay_out(domain)
    except UnsafeTextError as error:
        raise named(error, guest) from None
    prove(text, domain)
    return text
