"""`virtctl convert -f`: manifests of KubeVirt's early versions as today's, with a note per change."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from virt_types.manifest import ManifestError
from virtctl import manifests
from virtctl.errors import InputError
from virtctl.output import check_format, document, yaml_text

EXAMPLES = """
# Today's manifest on stdout, what changed on stderr
virtctl convert -f old.yaml

# Straight on
virtctl convert -f old.yaml | virtctl apply -f -
"""


def command(
    file: Annotated[
        list[str],
        typer.Option("--filename", "-f", metavar="FILE", show_default=False, help="File, directory or -; repeatable."),
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="json|yaml", help="YAML unless json is said.")] = "",
) -> None:
    """Print manifests of early KubeVirt versions as today's."""
    from virt_types import legacy

    check_format(output, ("json", "yaml"))
    converted = []
    for source in file:
        for title, read in manifests.documents(source):
            if isinstance(read, ManifestError):
                raise read
            obj, notes = legacy.convert(read.obj)
            for note in notes:
                print(f"{title}:{read.line}: {note}", file=sys.stderr)
            converted.append(obj)
    if not converted:
        raise InputError(f"no objects in {', '.join(file)}")
    if output != "json":
        print("---\n".join(yaml_text(obj) for obj in converted), end="")
    elif len(converted) == 1:
        document(converted[0], output)
    else:
        document({"apiVersion": "v1", "kind": "List", "items": converted}, output)
