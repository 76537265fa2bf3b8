"""What a command that waits shows on stderr: a line that moves on a terminal, a line per change anywhere else.

rich is imported here, when there is something to show: the request that is waited for has long been sent.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from virtctl.text import printable

if TYPE_CHECKING:
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.table import Table

REDRAWS_PER_SECOND = 10


class State(NamedTuple):
    """What an object is, in one word, and why it is not more: `Starting`, `ErrImagePull: no such image`."""

    word: str
    trouble: str = ""

    def __str__(self) -> str:
        """As within a sentence."""
        return f"{self.word} ({self.trouble})" if self.trouble else self.word


class Progress:
    """Says what an object is while it is waited for. Leaves nothing of the moving line behind."""

    def __init__(self) -> None:
        from virtctl.color import is_terminal

        self._terminal = is_terminal(sys.stderr)
        self._started = time.monotonic()
        self._said = ""
        self._subject = ""
        self._state = State("")
        self._live: Live | None = None
        self._spinner: Spinner | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    def show(self, subject: str, state: State) -> None:
        """`subject` is what is waited for, as in `VM vm1 to be Running`."""
        self._subject, self._state = _one_line(subject), State(_one_line(state.word), _one_line(state.trouble))
        if self._terminal:
            self._start()
            return
        text = f"Waiting for {self._subject}: {' · '.join(filter(None, self._state))}"
        if text != self._said:
            print(text, file=sys.stderr, flush=True)
        self._said = text

    def clear(self) -> None:
        """Take the moving line away, so that what is printed next stands alone."""
        if self._live:
            self._live.stop()
        self._live = None

    def _start(self) -> None:
        if self._live:
            return
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._spinner = Spinner("dots", style="cyan")
        console = Console(stderr=True, highlight=False)
        self._live = Live(
            get_renderable=self._line, console=console, refresh_per_second=REDRAWS_PER_SECOND, transient=True
        )
        self._live.start()
        # rich hides the cursor; a signal that ends us would leave the shell without one.
        console.show_cursor(True)

    def _line(self) -> Table:
        """Spinner, seconds, subject and state; a long reason takes a second line rather than being cut."""
        from rich.table import Table
        from rich.text import Text

        from virtctl.color import ERROR, status_style

        style = status_style(self._state.word)
        text = Text.assemble(
            (f"{int(time.monotonic() - self._started)}s ", "dim"),
            f"Waiting for {self._subject}: ",
            (self._state.word, style or ""),
        )
        if self._state.trouble:
            text.append(" · ").append(self._state.trouble, style if style == ERROR else "yellow")
        line = Table.grid(padding=(0, 1))
        line.add_row(self._spinner, text)
        return line


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())
