"""The API server alone, with garbage collection: a small Kubernetes API for tests and the curious.

    python -m virt_local.apiserver --listen 127.0.0.1:6443 --data-dir DIR

Prints one line when it is ready: its URL and its CA file. SIGTERM and SIGINT stop it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import signal
import sys
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from virt_kube.admission import UserInfo
from virt_local import pki
from virt_local.apiserver.audit import AuditLog
from virt_local.apiserver.authn import Authenticator
from virt_local.apiserver.roles import COLLECTOR
from virt_local.apiserver.server import ApiServer
from virt_local.apiserver.tokens import Tokens
from virt_local.gc import GarbageCollector
from virt_local.store import Store
from virt_types import labels
from virt_types.errors import VirtError

if TYPE_CHECKING:
    from virt_api.admission import KubeVirtAdmission


# Nobody answers at the addresses of Services here: they are from the range clusters commonly have.
CLUSTER_IPS = IPv4Network("10.96.0.0/16")


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m virt_local.apiserver", description=__doc__.split("\n")[0])
    parser.add_argument("--listen", default="127.0.0.1:6443", metavar="HOST:PORT", help="port 0 picks a free one")
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--token-auth-file", type=Path, metavar="CSV", help='lines of token,user,uid,"group1,group2"')
    parser.add_argument("--audit-log", type=Path, metavar="FILE", help="one line of JSON for each request")
    parser.add_argument("--no-admission", action="store_true", help="do not default or validate KubeVirt objects")
    parser.add_argument("--no-crds", action="store_true", help="install no CustomResourceDefinitions")
    return parser.parse_args(argv)


def _admission() -> KubeVirtAdmission:
    from virt_api.admission import KubeVirtAdmission

    return KubeVirtAdmission()


async def _run(options: argparse.Namespace) -> None:
    from virt_types.crds import custom_resource_definitions

    host, _, port = options.listen.rpartition(":")
    certificates = await asyncio.to_thread(pki.ensure, options.data_dir, host=host.strip("[]"))
    store = await Store.open(options.data_dir / "store.db")
    tokens = Tokens(store, options.data_dir / "pki" / "tokens.key")
    admission = None if options.no_admission else _admission()
    server = ApiServer(
        store,
        admission=admission,
        cluster_ips=CLUSTER_IPS,
        authenticator=Authenticator(options.token_auth_file, tokens=tokens),
        tokens=tokens,
        audit=AuditLog(options.audit_log) if options.audit_log else None,
    )
    if admission is not None:
        admission.connect(server.client(UserInfo(labels.API_USER, (labels.SERVICE_ACCOUNTS_GROUP,))))
    collector: asyncio.Task[None] | None = None
    try:
        await server.bootstrap([] if options.no_crds else custom_resource_definitions())
        collector = asyncio.create_task(GarbageCollector(store, server.registry, server.client(COLLECTOR)).run())
        bound = await server.start(host.strip("[]"), int(port), certificates.server_context())
        gc.freeze()
        gc.enable()
        url = f"https://{host}:{bound}"
        pki.write_kubeconfig(options.data_dir / "kubeconfig", certificates, url)
        print(f"ready {url} {certificates.ca}", flush=True)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, collector}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if collector.done():
            collector.result()  # without one nothing that is deleted would ever go
    finally:
        if collector is not None:
            collector.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await collector
        await server.stop()
        await store.close()


def main(argv: list[str] | None = None) -> int:
    options = _arguments(sys.argv[1:] if argv is None else argv)
    gc.disable()  # nothing made before the first request is garbage
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        import uvloop

        uvloop.run(_run(options))
    except VirtError as error:
        print(f"error: {error.message}" + (f"\n{error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: can't listen on {options.listen}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
