"""`virtctl vnc screenshot`: the display as a PNG."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from virtctl.errors import ApiRefusal, InputError
from virtctl.http import INSTANCES
from virtctl.options import Instance, client_of

EXAMPLES = """
# Into a file
virtctl vnc screenshot myvm -f myvm.png

# Onto standard output
virtctl vnc screenshot myvm -f - | display
"""


def command(
    ctx: typer.Context,
    name: Instance,
    *,
    file: Annotated[
        str, typer.Option("--file", "-f", metavar="FILE", show_default=False, help="Where to; - is stdout.")
    ],
    move_cursor: Annotated[
        bool, typer.Option("--move-cursor", "-m", help="Move the mouse first, to wake a sleeping display.")
    ] = False,
) -> None:
    """Take a screenshot of a virtual machine instance's display."""
    client = client_of(ctx)
    query = {"moveCursor": "true" if move_cursor else "false"}
    try:
        image = client.request(
            "GET", client.subresource(INSTANCES, name, "vnc", "screenshot", query=query), accept="image/png, */*"
        )
    except ApiRefusal as error:
        raise error.prefixed(f"Can't access VMI {name}: ") from error
    if file == "-":
        sys.stdout.buffer.write(image)
        return
    try:
        Path(file).write_bytes(image)
    except OSError as error:
        raise InputError(f"Can't write image to a file: {file}: {(error.strerror or str(error)).lower()}") from error
