"""What DataVolumes depend on, kept true by informers. Used by the controllers."""

from __future__ import annotations

import asyncio

from virt_kube.api import KubeClient
from virt_kube.informer import Informer, Key, key_of
from virt_kube.resources import DATA_SOURCES, DATA_VOLUMES, PERSISTENT_VOLUME_CLAIMS, VIRTUAL_MACHINE_INSTANCES
from virt_local.claims import STORAGE_CLASSES, Claim, StorageClass, User, claims_of
from virt_types import codec
from virt_types.cdi.objects import DataSource, DataVolume

CLAIM_INDEX = "claim"


class Caches:
    """One informer each; `run` until cancelled, after `synced` they can be read."""

    def __init__(self, client: KubeClient) -> None:
        self.data_volumes = Informer(client, DATA_VOLUMES, lambda data: codec.decode(data, DataVolume))
        self.data_sources = Informer(client, DATA_SOURCES, lambda data: codec.decode(data, DataSource))
        self.claims = Informer(client, PERSISTENT_VOLUME_CLAIMS, lambda data: codec.decode(data, Claim))
        self.classes = Informer(client, STORAGE_CLASSES, lambda data: codec.decode(data, StorageClass))
        self.users = Informer(
            client,
            VIRTUAL_MACHINE_INSTANCES,
            lambda data: codec.decode(data, User),
            indexers={CLAIM_INDEX: claims_of},
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for run in (
                self.data_volumes.run,
                self.data_sources.run,
                self.claims.run,
                self.classes.run,
                self.users.run,
            ):
                tasks.create_task(run())

    async def synced(self) -> None:
        for cache in (self.data_volumes, self.data_sources, self.claims, self.classes, self.users):
            await cache.synced.wait()

    def data_source(self, key: Key) -> DataSource | None:
        return self.data_sources.get(*key)

    def claim(self, key: Key) -> Claim | None:
        return self.claims.get(*key)

    def user_of(self, claim: Key) -> str:
        """The name of a machine that uses the claim, "" when none does."""
        users = [key_of(user).name for user in self.users.by_index(CLAIM_INDEX, str(claim))]
        return min(users, default="")
