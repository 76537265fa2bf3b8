"""Text from elsewhere (servers, guests, manifests) made safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Without control characters: an escape sequence in a name must not drive the terminal. Line ends and tabs stay."""
    return "".join(
        c if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f") else "\N{REPLACEMENT CHARACTER}" for c in text
    )
