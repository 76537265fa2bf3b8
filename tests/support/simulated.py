"""Run a scenario on a simulated clock; for hypothesis, whose examples each need a loop of their own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import looptime


def simulate(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """The scenario to its end; waiting takes no time, and time starts at 0."""
    loop = looptime.new_event_loop(start=0)
    try:
        loop.run_until_complete(scenario())
    finally:
        loop.close()
