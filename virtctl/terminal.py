"""The user's terminal in raw mode, given back however the command ends."""

from __future__ import annotations

import contextlib
import signal
import termios
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Keys go to us one by one and unchanged, Ctrl+C too. Restored on return, on errors and on signals that end us."""
    before = termios.tcgetattr(descriptor)

    def end(number: int, *_: object) -> None:
        raise SystemExit(128 + number)

    def again(*_: object) -> None:
        # The shell put the terminal into its own mode while we were stopped.
        tty.setraw(descriptor)

    handlers = {number: signal.signal(number, end) for number in _ENDING}
    handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, again)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
