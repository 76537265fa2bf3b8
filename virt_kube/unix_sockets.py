"""Unix sockets that only their owner may open, for components that meet on one machine.

Called by the node agent, virt-api and the one-machine cluster's uploads.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

BACKLOG = 128
MAX_PATH = 107  # sun_path is 108 bytes with its terminating zero


def listen_privately(path: Path) -> socket.socket:
    """A listening socket in place of whatever was at `path`, closed to others from its first moment. Raises OSError."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux gives the file the mode of the socket. A umask would hold for every thread of the process.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
