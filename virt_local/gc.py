"""What a real cluster's garbage collector, namespace controller and CRD finalizer do, for the embedded API.

- Objects whose owners are all gone are deleted; foreground and orphan deletions are carried out.
- A namespace being deleted loses its contents, then its finalizer; a living one has a default service account.
- A CustomResourceDefinition being deleted loses its objects first.

It listens to the store directly, so its picture of owners and dependents is never stale, and idle it sleeps.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from virt_kube.api import ApiError, Conflict, KubeClient, NotFound, Propagation, Resource
from virt_local import namespaces
from virt_local.apiserver.builtins import CRD, NAMESPACE
from virt_local.apiserver.definitions.names import CLEANUP_FINALIZER
from virt_local.apiserver.deletes import FOREGROUND, ORPHAN
from virt_local.apiserver.registry import Registry
from virt_local.store import Change, Key, Store

log = logging.getLogger("virt_local.gc")

RETRY_FIRST, RETRY_MOST = 0.05, 30.0  # seconds
AT_ONCE = 5  # times that what somebody else changed is looked at again without a pause


class _Owner(msgspec.Struct, rename="camel"):
    uid: str
    name: str = ""
    block_owner_deletion: bool = False


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    owner_references: list[_Owner] = []
    finalizers: list[str] = []
    deletion_timestamp: str | None = None


class _Object(msgspec.Struct):
    metadata: _Meta


_decoder = msgspec.json.Decoder(_Object)


class _Node(NamedTuple):
    """What there is to know about a living object."""

    key: Key
    meta: _Meta

    @property
    def deleting(self) -> bool:
        return self.meta.deletion_timestamp is not None

    def foreground(self) -> bool:
        return self.deleting and FOREGROUND in self.meta.finalizers

    def interesting(self) -> bool:
        return self.deleting or bool(self.meta.owner_references) or self.key.resource == NAMESPACE.stored_as


def _metadata(key: Key, value: bytes) -> _Meta:
    try:
        return _decoder.decode(value).metadata
    except msgspec.ValidationError as error:
        # Admission lets no such thing in. One that is there all the same has no owners, and stops nobody.
        log.warning("metadata can't be read object=%s error=%s", "/".join(key), error)
        return _Meta(name=key.name, namespace=key.namespace)


class GarbageCollector:
    """`run` until cancelled. One per store."""

    def __init__(self, store: Store, registry: Registry, client: KubeClient) -> None:
        self._store = store
        self._registry = registry
        self._client = client
        self._nodes: dict[Key, _Node] = {}
        self._by_uid: dict[str, Key] = {}
        self._dependents: defaultdict[str, set[Key]] = defaultdict(set)
        self._queue: dict[Key, None] = {}  # an ordered set
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()
        for resource in store.resources():
            for key, record in store.objects(resource):
                self._learn(key, record.value)
        store.subscribe("", self._changed)

    async def run(self) -> None:
        while True:
            while self._queue:
                key = next(iter(self._queue))
                del self._queue[key]
                await self._attempt(key)
            self._wake.clear()
            await self._wake.wait()

    async def _attempt(self, key: Key) -> None:
        try:
            await self._work(key)
        except (Conflict, NotFound) as error:  # somebody else changed it: look again
            self._retry(key, error, at_once=AT_ONCE)
        except ApiError as error:
            self._retry(key, error)
        except Exception as error:
            log.exception("garbage collection failed object=%s", "/".join(key))
            self._retry(key, error)
        else:
            self._failures.pop(key, None)

    def _retry(self, key: Key, error: Exception, *, at_once: int = 0) -> None:
        """Later, and later each time; the first `at_once` times without a pause."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = 0.0
        if failures > at_once:
            delay = min(RETRY_FIRST * 2 ** (failures - at_once), RETRY_MOST)
            log.warning("garbage collection put off object=%s error=%s retry_in=%.1f", "/".join(key), error, delay)
        asyncio.get_running_loop().call_later(delay, self._enqueue, key)

    def _changed(self, change: Change) -> None:
        if change.deleted:
            self._forget(change.key)
        else:
            self._learn(change.key, change.value)

    def _learn(self, key: Key, value: bytes) -> None:
        old = self._nodes.get(key)
        node = _Node(key, _metadata(key, value))
        if old is not None:
            for owner in old.meta.owner_references:
                self._dependents[owner.uid].discard(key)
        self._nodes[key] = node
        self._by_uid[node.meta.uid] = key
        for owner in node.meta.owner_references:
            self._dependents[owner.uid].add(key)
        if node.interesting():
            self._enqueue(key)
        if old is not None:
            self._enqueue_owners(old)  # it may have stopped blocking one

    def _forget(self, key: Key) -> None:
        node = self._nodes.pop(key, None)
        if node is None:
            return
        self._by_uid.pop(node.meta.uid, None)
        for owner in node.meta.owner_references:
            self._dependents[owner.uid].discard(key)
            if not self._dependents[owner.uid]:
                del self._dependents[owner.uid]
        for dependent in self._dependents.get(node.meta.uid, ()):
            self._enqueue(dependent)
        self._enqueue_owners(node)
        self._enqueue_container(key)

    def _enqueue_owners(self, node: _Node) -> None:
        for owner in node.meta.owner_references:
            found = self._owner(owner.uid, node)
            if found is not None and found.foreground():
                self._enqueue(found.key)

    def _enqueue_container(self, key: Key) -> None:
        """The namespace or definition that may be waiting for this object to go, or need another one."""
        group, _, plural = key.resource.partition("/")
        for container in (
            Key(NAMESPACE.stored_as, "", key.namespace),
            Key(CRD.stored_as, "", f"{plural}.{group}"),
        ):
            node = self._nodes.get(container)
            if node is not None and (node.deleting or key.resource == namespaces.ACCOUNTS_STORED):
                self._enqueue(container)

    def _enqueue(self, key: Key) -> None:
        self._queue[key] = None
        self._wake.set()

    def _owner(self, uid: str, dependent: _Node) -> _Node | None:
        """A living owner; one in another namespace is none."""
        key = self._by_uid.get(uid)
        if key is None or (key.namespace and key.namespace != dependent.key.namespace):
            return None
        return self._nodes.get(key)

    async def _work(self, key: Key) -> None:
        node = self._nodes.get(key)
        if node is None:
            return
        if node.deleting:
            await self._finish(node)
        elif node.meta.owner_references:
            await self._check_owners(node)
        elif node.key.resource == NAMESPACE.stored_as and self._accountless(node.key.name):
            await namespaces.give_account(self._client, node.key.name)

    def _accountless(self, namespace: str) -> bool:
        return Key(namespaces.ACCOUNTS_STORED, namespace, namespaces.DEFAULT_ACCOUNT) not in self._nodes

    async def _check_owners(self, node: _Node) -> None:
        owners = {owner.uid: self._owner(owner.uid, node) for owner in node.meta.owner_references}
        solid = [uid for uid, owner in owners.items() if owner is not None and not owner.foreground()]
        if solid:
            if len(solid) < len(owners):
                await self._drop_owners(node, set(owners) - set(solid))
            return
        waiting = any(owner is not None for owner in owners.values())
        policy: Propagation = "Background"
        if ORPHAN in node.meta.finalizers:
            policy = "Orphan"
        elif FOREGROUND in node.meta.finalizers or (waiting and self._dependents.get(node.meta.uid)):
            policy = "Foreground"
        log.info("deleting dependent object=%s uid=%s", "/".join(node.key), node.meta.uid)
        await self._delete(node, policy)

    async def _finish(self, node: _Node) -> None:
        if ORPHAN in node.meta.finalizers:
            for key in tuple(self._dependents.get(node.meta.uid, ())):
                if (dependent := self._nodes.get(key)) is not None:  # it may have gone while we waited
                    await self._drop_owners(dependent, {node.meta.uid})
            await self._drop_finalizer(node, ORPHAN)
        elif FOREGROUND in node.meta.finalizers:
            if not self._blocked(node):
                await self._drop_finalizer(node, FOREGROUND)
        elif node.key.resource == NAMESPACE.stored_as:
            await self._empty_namespace(node)
        elif CLEANUP_FINALIZER in node.meta.finalizers and node.key.resource == CRD.stored_as:
            await self._empty_definition(node)

    def _blocked(self, node: _Node) -> bool:
        """Whether dependents that block it are left; all its dependents are looked at."""
        dependents = [self._nodes[key] for key in self._dependents.get(node.meta.uid, ())]
        for dependent in dependents:
            if not dependent.deleting:
                self._enqueue(dependent.key)
        return any(
            owner.uid == node.meta.uid and owner.block_owner_deletion
            for dependent in dependents
            for owner in dependent.meta.owner_references
        )

    async def _empty_namespace(self, node: _Node) -> None:
        contents = [other for other in self._nodes.values() if other.key.namespace == node.key.name]
        await self._delete_all(contents)
        left = [other for other in self._nodes.values() if other.key.namespace == node.key.name]
        if left:
            remains = [(other.key, other.meta.finalizers) for other in left]
            await namespaces.tell_remains(self._client, node.key.name, remains)
        else:
            body = msgspec.json.decode(await self._client.get(_resource(self._registry, node.key), "", node.key.name))
            body["spec"]["finalizers"] = []
            resource = _resource(self._registry, node.key)
            await self._client.update(resource, "", node.key.name, body, subresource="finalize")

    async def _empty_definition(self, node: _Node) -> None:
        plural, _, group = node.key.name.partition(".")
        stored_as = f"{group}/{plural}"
        await self._delete_all([other for other in self._nodes.values() if other.key.resource == stored_as])
        if not any(other.key.resource == stored_as for other in self._nodes.values()):
            await self._drop_finalizer(node, CLEANUP_FINALIZER)

    async def _delete_all(self, nodes: list[_Node]) -> None:
        for node in nodes:
            if not node.deleting:
                try:
                    await self._delete(node, "Background")
                except NotFound:
                    continue

    async def _delete(self, node: _Node, policy: Propagation) -> None:
        resource = _resource(self._registry, node.key)
        await self._client.delete(resource, *node.key[1:], uid=node.meta.uid, propagation=policy)

    async def _drop_owners(self, node: _Node, uids: set[str]) -> None:
        await self._narrow(node, "ownerReferences", lambda owner: owner["uid"] not in uids)

    async def _drop_finalizer(self, node: _Node, name: str) -> None:
        await self._narrow(node, "finalizers", lambda finalizer: finalizer != name)

    async def _narrow(self, node: _Node, field: str, keep: Callable[[Any], bool]) -> None:
        """Keep some elements of a list in the metadata; Conflict when the object was changed meanwhile."""
        resource = _resource(self._registry, node.key)
        meta = msgspec.json.decode(await self._client.get(resource, *node.key[1:]))["metadata"]
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": node.meta.uid},
            {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]},
            {"op": "replace", "path": f"/metadata/{field}", "value": [one for one in meta.get(field, []) if keep(one)]},
        ]
        await self._client.patch(resource, *node.key[1:], patch)


def _resource(registry: Registry, key: Key) -> Resource:
    group, _, plural = key.resource.partition("/")
    found = registry.get(group, plural)
    if found is None:
        raise NotFound(f"no resource {key.resource}")
    return found.as_resource(found.storage)
