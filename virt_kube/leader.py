"""Leader election over a Lease: of several copies of a program, one works.

Called by the `virt-controller` program on a cluster. The lease is timed by what this process saw, never by comparing
clocks of two machines, and it is given back when the leader ends (ReleaseOnCancel), so that a roll-out has no gap.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import json

from virt_kube.api import AlreadyExists, ApiError, Conflict, Json, KubeClient, NotFound
from virt_kube.clock import Clock, rfc3339_micro, system_clock
from virt_kube.resources import LEASES

log = logging.getLogger("virt_kube.leader")

LEASE_SECONDS = 15
RENEW_DEADLINE = 10.0
RETRY_SECONDS = 2.0


class LostLease(Exception):
    """Another copy may be leading by now; the work was cancelled."""


class LeaderElector:
    """Holds the Lease `namespace/name` as `identity`."""

    def __init__(
        self, client: KubeClient, namespace: str, name: str, identity: str, *, clock: Clock = system_clock
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._seen: Json = {}
        self._seen_at = 0.0
        self._renewed = 0.0  # when the last try that succeeded began: no follower counts from earlier

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, then run `work` while it holds. Raises LostLease when it could not be renewed in time."""
        while not await self._try():  # noqa: ASYNC110  the lease is in another process
            await asyncio.sleep(RETRY_SECONDS)
        log.info("leading lease=%s/%s identity=%s", self._namespace, self._name, self._identity)
        working = asyncio.ensure_future(work())
        renewing = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
            else:
                await renewing
        finally:
            working.cancel()
            renewing.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)
            await self._release()

    async def _renew(self) -> None:
        try:
            while True:
                async with asyncio.timeout_at(self._renewed + RENEW_DEADLINE):
                    await asyncio.sleep(RETRY_SECONDS)
                    while not await self._try():  # noqa: ASYNC110  the lease is in another process
                        await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            text = f"the lease {self._namespace}/{self._name} was not renewed for {RENEW_DEADLINE:.0f} s"
            raise LostLease(text) from None

    async def _try(self) -> bool:
        """Take or renew the lease; whether it is ours now."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(RENEW_DEADLINE / 2):
                taken = await self._take()
        except (ApiError, TimeoutError) as error:
            if not isinstance(error, Conflict):
                log.warning("lease unavailable lease=%s/%s error=%s", self._namespace, self._name, error)
            return False
        if taken:
            self._renewed = began
        return taken

    async def _take(self) -> bool:
        try:
            lease: Json = json.decode(await self._client.get(LEASES, self._namespace, self._name))
        except NotFound:
            await self._create()
            return True
        spec: dict[str, Any] = lease.get("spec") or {}
        now = asyncio.get_running_loop().time()
        if spec != self._seen:
            self._seen, self._seen_at = spec, now
        holder = spec.get("holderIdentity") or ""
        alive = now < self._seen_at + float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)
        if holder not in ("", self._identity) and alive:
            return False
        moved = holder != self._identity
        lease["spec"] = self._spec(spec if not moved else {}, int(spec.get("leaseTransitions") or 0) + moved)
        answer = json.decode(await self._client.update(LEASES, self._namespace, self._name, lease))
        self._seen, self._seen_at = answer.get("spec") or {}, now
        return True

    async def _create(self) -> None:
        body: Json = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec({}, 0),
        }
        try:
            await self._client.create(LEASES, self._namespace, body)
        except AlreadyExists as error:
            raise Conflict(error.message) from error

    def _spec(self, old: Json, transitions: int) -> Json:
        now = rfc3339_micro(self._clock())
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": old.get("acquireTime") or now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    async def _release(self) -> None:
        """Leave the lease to whoever comes next; failing that, it runs out."""
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                lease: Json = json.decode(await self._client.get(LEASES, self._namespace, self._name))
                if lease.get("spec", {}).get("holderIdentity") != self._identity:
                    return
                lease["spec"] = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._client.update(LEASES, self._namespace, self._name, lease)
        except (ApiError, TimeoutError) as error:
            log.info("lease not released lease=%s/%s error=%s", self._namespace, self._name, error)
