"""`virt-api`: the subresource API as a program of its own.

It listens on a unix socket for an API server on the same machine. Serving TLS to the API server of a cluster, with its
client certificate verified, is not built yet.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from virt_api.app import serve
from virt_kube.http import HttpClient
from virt_types.errors import VirtError

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    import uvloop

    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(arguments))
    except VirtError as err:
        print(f"virt-api: {err.message}" + (f"\n{err.hint}" if err.hint else ""), file=sys.stderr)
        return err.exit_code
    except OSError as err:
        print(f"virt-api: can't listen on {arguments.socket}: {err.strerror}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    run = _run_dir()
    parser = argparse.ArgumentParser(
        prog="virt-api", description="KubeVirt's subresource API: start, stop, console, ..."
    )
    parser.add_argument("--kubeconfig", help="how to reach the Kubernetes API (default: as kubectl finds it)")
    parser.add_argument("--context", help="the kubeconfig's context")
    parser.add_argument("--socket", type=Path, default=run / "virt-api.sock", help="where to listen (%(default)s)")
    parser.add_argument(
        "--handler-socket", type=Path, default=run / "virt-handler.sock", help="the node agent's socket (%(default)s)"
    )
    parser.add_argument(
        "--authorize",
        action="store_true",
        help="ask the Kubernetes API whether the user in X-Remote-User may call a subresource (SubjectAccessReview); "
        "for an API server in front that only authenticates",
    )
    return parser


async def _serve(arguments: argparse.Namespace) -> None:
    client = HttpClient.from_kubeconfig(arguments.kubeconfig, arguments.context, user_agent="virt-api")
    task = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel if task else sys.exit)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await serve(
                client, socket=arguments.socket, handler_socket=arguments.handler_socket, reviewing=arguments.authorize
            )
    finally:
        await client.close()


def _run_dir() -> Path:
    """RUN of docs/architecture.md."""
    if os.geteuid() == 0:
        return Path("/run/virtctl")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}") / "virtctl"


if __name__ == "__main__":
    sys.exit(main())
