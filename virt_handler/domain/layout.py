"""Lays a context out with templates/domain.xml.j2, compiled once per process."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from virt_handler.domain.context import DomainContext
from virt_handler.domain.proof import checked_text

# Installed, the templates are package data; in a checkout they are the folder beside the packages.
_HERE = Path(__file__).resolve()
TEMPLATE_FOLDERS = (_HERE.parent.parent / "templates", _HERE.parent.parent.parent / "templates")


def lay_out(domain: DomainContext) -> str:
    """The XML text; raises UnsafeTextError for a value that XML can't carry."""
    return template().render(domain=domain)


@cache
def template() -> Template:
    """The compiled template. The first call takes about 50 ms: whoever must be quick later calls it early."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_FOLDERS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
        finalize=checked_text,
    )
    return environment.get_template("domain.xml.j2")
