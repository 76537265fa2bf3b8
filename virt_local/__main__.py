"""`python -m virt_local SETTINGS`: the supervisor's process. People use `virtctl local up`."""

from __future__ import annotations

import asyncio
import logging
import sys

from virt_local.settings import Settings, decode
from virt_local.supervisor import Supervisor

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def serve(settings: Settings) -> None:
    """Run the supervisor in this process until it is told to stop."""
    import uvloop

    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Supervisor(settings).run())


if __name__ == "__main__":
    serve(decode(sys.argv[1]))
