"""What commands print on stdout: documents as JSON or YAML, and tables aligned as kubectl aligns them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from virtctl import color
from virtctl.errors import UsageError
from virtctl.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_format(given: str, known: Sequence[str]) -> None:
    """Raises UsageError for an output format that is not among `known` (empty is always allowed)."""
    if given and given not in known:
        raise UsageError(
            f'unable to match a printer suitable for the output format "{given}"', hint=f"One of {', '.join(known)}."
        )


def document(value: dict[str, Any], form: str) -> None:
    """Print one object as `json` (indent 4, as kubectl) or `yaml`."""
    if form == "json":
        print(json.dumps(value, indent=4, ensure_ascii=False))
    else:
        print(yaml_text(value), end="")


def yaml_text(value: object) -> str:
    """YAML as kubectl writes it: keys sorted, text of several lines as a block."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, block)
    text: str = yaml.dump(value, Dumper=Dumper, allow_unicode=True, width=1 << 20)
    return text


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], widths: list[int] | None = None) -> list[int]:
    """Print rows under their headers, three spaces apart; the widths it returns go with rows that follow.

    On a terminal statuses are coloured; the text is the same, so that it can be copied.
    """
    lines = [[printable(cell) for cell in row] for row in rows]
    shown = [*([] if widths else [list(headers)]), *lines]
    widths = [max([len(row[i]) for row in shown] + ([widths[i]] if widths else [])) for i in range(len(headers))]
    show = _colored if color.wanted(sys.stdout) else _plain
    show(headers, shown, widths)
    return widths


def _plain(_headers: Sequence[str], rows: list[list[str]], widths: list[int]) -> None:
    for row in rows:
        print("".join(_padded(row, widths)).rstrip(), flush=True)


def _colored(headers: Sequence[str], rows: list[list[str]], widths: list[int]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for row in rows:
        line = Text()
        for cell, padded, style in zip(row, _padded(row, widths), color.cell_styles(headers, row), strict=True):
            line.append(cell, style).append(padded[len(cell) :])
        line.rstrip()
        # The terminal wraps what is too long, as it does kubectl's; rich would break it into lines of its own.
        console.print(line, soft_wrap=True)
    sys.stdout.flush()


def _padded(row: list[str], widths: list[int]) -> list[str]:
    return [cell.ljust(width + 3) for cell, width in zip(row, widths, strict=True)]
