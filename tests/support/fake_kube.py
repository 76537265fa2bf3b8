"""An in-memory Kubernetes API for tests: real semantics, every request counted, and faults on demand.

It behaves like a real one where controllers can tell: resourceVersions, generations, finalizers, status subresources,
preconditions, JSON patch tests, owner references, watches from a version. `Faults` makes it lie the way networks do.
"""

from __future__ import annotations

import asyncio
import copy
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from virt_kube.api import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Gone,
    Invalid,
    Json,
    JsonPatch,
    ListPage,
    NotFound,
    PatchKind,
    Propagation,
    Resource,
    Unreachable,
    WatchEvent,
)
from virt_kube.clock import Clock, rfc3339

STATUS_SUBRESOURCE = frozenset(
    {
        "virtualmachines",
        "nodes",
        "persistentvolumeclaims",
        "virtualmachineinstancereplicasets",
        "virtualmachinepools",
    }
)
EPOCH = 1_750_000_000.0


def loop_clock() -> float:
    """Unix seconds that run with the event loop's (perhaps simulated) clock."""
    return EPOCH + asyncio.get_running_loop().time()


@dataclass
class Faults:
    """Probabilities of what goes wrong, per request or per watch event."""

    refuse: float = 0.0  # the request never arrives
    lose_answer: float = 0.0  # it is carried out, the answer is lost
    conflict: float = 0.0  # 409 without a reason of ours
    lose_event: float = 0.0
    double_event: float = 0.0
    late_event: float = 0.0  # delivered after its successor
    stale_event: float = 0.0  # an old event of the stream again
    cut_watch: float = 0.0
    compact: float = 0.0  # the next watch gets 410
    rng: random.Random = field(default_factory=random.Random)

    def strike(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability


@dataclass(frozen=True)
class Request:
    verb: str
    plural: str
    subresource: str
    namespace: str
    name: str
    body: Any = None


@dataclass
class _Versions:
    current: int = 100
    compacted: int = 0


class _Watcher:
    def __init__(self, plural: str, namespace: str, selector: str, faults: Faults | None) -> None:
        self.faults = faults
        self.plural = plural
        self.namespace = namespace
        self.selector = selector
        self.queue: asyncio.Queue[WatchEvent | ApiError | None] = asyncio.Queue()
        self.held: WatchEvent | None = None
        self.sent: list[WatchEvent] = []

    def wants(self, plural: str, obj: Json) -> bool:
        meta = obj["metadata"]
        return (
            plural == self.plural
            and self.namespace in ("", meta.get("namespace", ""))
            and _selected(obj, self.selector)
        )


class FakeKube:
    """Implements KubeClient. `objects` may be read; tests change things through the same requests as everyone."""

    def __init__(self, *, clock: Clock = loop_clock, faults: Faults | None = None, collect: bool = True) -> None:
        self.faults = faults
        self.requests: list[Request] = []
        self.watches = 0
        self.freeze: Callable[[Request, str], bool] | None = None
        self.on_create: Callable[[str, Json], None] | None = None
        self.history: list[tuple[int, str, str, Json]] = []
        self._clock = clock
        self._collect = collect
        self._objects: dict[tuple[str, str, str], Json] = {}
        self._versions = _Versions()
        self._watchers: list[_Watcher] = []

    def view(self, faults: Faults | None = None, freeze: Callable[[Request, str], bool] | None = None) -> FakeKube:
        """Another client of the same API, with faults of its own; with `freeze` true a request never comes back."""
        twin = copy.copy(self)
        twin.faults = faults
        twin.freeze = freeze
        return twin

    # Reading, for tests.

    def objects(self, plural: str) -> list[Json]:
        return [copy.deepcopy(obj) for (kind, _, _), obj in sorted(self._objects.items()) if kind == plural]

    def find(self, resource: Resource, namespace: str, name: str) -> Json | None:
        obj = self._objects.get((resource.plural, namespace, name))
        return copy.deepcopy(obj) if obj else None

    def writes(self, *, events: bool = False) -> list[Request]:
        """Requests that changed, or tried to change, an object; Events apart."""
        return [
            request
            for request in self.requests
            if request.verb not in ("get", "list", "watch") and (events or request.plural != "events")
        ]

    def counts(self) -> Counter[str]:
        """How often each `verb plural[/subresource]` was asked."""
        return Counter(f"{r.verb} {r.plural}{'/' + r.subresource if r.subresource else ''}" for r in self.requests)

    def compact(self) -> None:
        """Forget the history: every watch ends and must list again."""
        self._versions.current += 1
        self._versions.compacted = self._versions.current
        self.cut_watches()

    def cut_watches(self) -> None:
        for watcher in self._watchers:
            watcher.queue.put_nowait(None)

    # KubeClient.

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        await self._begin(Request("get", resource.plural, "", namespace, name))
        return _encode(self._must_find(resource, namespace, name))

    async def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ListPage:
        await self._begin(Request("list", resource.plural, "", namespace, ""))
        items = [
            _encode(obj)
            for (plural, where, _), obj in sorted(self._objects.items())
            if plural == resource.plural and namespace in ("", where) and _selected(obj, label_selector)
        ]
        return ListPage(items, str(self._versions.current))

    async def watch(
        self, resource: Resource, namespace: str = "", *, resource_version: str, label_selector: str = ""
    ) -> AsyncIterator[WatchEvent]:
        self.watches += 1
        await self._begin(Request("watch", resource.plural, "", namespace, ""))
        since = int(resource_version)
        if since < self._versions.compacted or (self.faults and self.faults.strike(self.faults.compact)):
            raise Gone(f"too old resource version: {since} ({self._versions.current})")
        watcher = _Watcher(resource.plural, namespace, label_selector, self.faults)
        for version, plural, type_, obj in self.history:
            if version > since and watcher.wants(plural, obj):
                self._deliver(watcher, WatchEvent(type_, _encode(obj)))  # type: ignore[arg-type]
        self._watchers.append(watcher)
        try:
            while True:
                item = await watcher.queue.get()
                if item is None:
                    return
                if isinstance(item, ApiError):
                    raise item
                yield item
        finally:
            self._watchers.remove(watcher)

    async def create(self, resource: Resource, namespace: str, body: Json | bytes) -> bytes:
        obj: Json = msgspec.json.decode(body) if isinstance(body, bytes) else copy.deepcopy(body)
        meta = obj.setdefault("metadata", {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + uuid.uuid4().hex[:5]
        request = Request("create", resource.plural, "", namespace, meta.get("name", ""), obj)
        await self._begin(request)
        key = (resource.plural, namespace if resource.namespaced else "", meta["name"])
        if key in self._objects:
            raise AlreadyExists(f'{resource.plural} "{meta["name"]}" already exists', reason="AlreadyExists")
        if resource.namespaced:
            meta["namespace"] = namespace
        meta.update(uid=str(uuid.uuid4()), generation=1, creationTimestamp=rfc3339(self._clock()))
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        if resource.plural in STATUS_SUBRESOURCE:
            obj.pop("status", None)
        if resource.plural == "virtualmachineinstances":
            _admit_vmi(obj, rfc3339(self._clock()))
        if self.on_create:
            self.on_create(resource.plural, obj)
        self._write("ADDED", key, obj)
        self._collect_if_lost(obj)
        return await self._answer(request, obj)

    async def update(
        self, resource: Resource, namespace: str, name: str, body: Json | bytes, *, subresource: str = ""
    ) -> bytes:
        new: Json = msgspec.json.decode(body) if isinstance(body, bytes) else copy.deepcopy(body)
        request = Request("update", resource.plural, subresource, namespace, name, new)
        await self._begin(request)
        old = self._must_find(resource, namespace, name)
        version = new["metadata"].get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise Conflict(f'Operation cannot be fulfilled on {resource.plural} "{name}": the object has been modified')
        return await self._answer(request, self._change(resource, old, new, subresource))

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Json | JsonPatch,
        *,
        kind: PatchKind = "json",
        subresource: str = "",
    ) -> bytes:
        request = Request("patch", resource.plural, subresource, namespace, name, copy.deepcopy(patch))
        await self._begin(request)
        old = self._must_find(resource, namespace, name)
        read = None if isinstance(patch, list) else (patch.get("metadata") or {}).get("resourceVersion")
        if read not in (None, "", old["metadata"]["resourceVersion"]):
            raise Conflict(f"the object has been modified; {read} was read")
        new = apply_json_patch(old, patch) if isinstance(patch, list) else _merge(old, patch)
        return await self._answer(request, self._change(resource, old, new, subresource))

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        propagation: Propagation = "Background",
        grace_period_seconds: int | None = None,
    ) -> None:
        request = Request("delete", resource.plural, "", namespace, name, {"uid": uid, "propagation": propagation})
        await self._begin(request)
        obj = copy.deepcopy(self._must_find(resource, namespace, name))
        meta = obj["metadata"]
        if uid and uid != meta["uid"]:
            raise Conflict(f"the UID in the precondition ({uid}) does not match the UID in record ({meta['uid']})")
        if not meta.get("deletionTimestamp"):
            if propagation == "Orphan":
                meta.setdefault("finalizers", []).append("orphan")
            meta["deletionTimestamp"] = rfc3339(self._clock())
            meta["generation"] = meta.get("generation", 1) + 1
            self._settle((resource.plural, meta.get("namespace", ""), name), obj)
        if self._collect:
            asyncio.get_running_loop().call_soon(self.collect_garbage)
        await self._answer(request, obj)

    async def close(self) -> None:
        self.cut_watches()

    # What the garbage collector does.

    def collect_garbage(self) -> None:
        """Delete what lost its owner; release the dependents of orphaning owners."""
        for key, obj in [*self._objects.items()]:
            if "orphan" in obj["metadata"].get("finalizers", ()):
                self._release_dependents(obj["metadata"]["uid"])
                new = copy.deepcopy(self._objects[key])
                new["metadata"]["finalizers"].remove("orphan")
                self._settle(key, new)
        alive = {obj["metadata"]["uid"] for obj in self._objects.values()}
        for key, obj in [*self._objects.items()]:
            if key not in self._objects:  # went with an earlier one
                continue
            owners = obj["metadata"].get("ownerReferences") or []
            if owners and not any(o["uid"] in alive for o in owners) and not obj["metadata"].get("deletionTimestamp"):
                new = copy.deepcopy(obj)
                new["metadata"]["deletionTimestamp"] = rfc3339(self._clock())
                self._settle(key, new)

    def _release_dependents(self, uid: str) -> None:
        for key, obj in [*self._objects.items()]:
            owners = obj["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == uid for owner in owners):
                new = copy.deepcopy(obj)
                new["metadata"]["ownerReferences"] = [owner for owner in owners if owner["uid"] != uid]
                self._settle(key, new)

    # Inside.

    async def _begin(self, request: Request) -> None:
        await asyncio.sleep(0)
        self.requests.append(request)
        await self._maybe_freeze(request, "before")
        if self.faults:
            if self.faults.strike(self.faults.refuse):
                raise Unreachable("connection refused")
            if request.verb in ("update", "patch") and self.faults.strike(self.faults.conflict):
                raise Conflict("the object has been modified")

    async def _answer(self, request: Request, obj: Json) -> bytes:
        data = _encode(obj)
        await asyncio.sleep(0)
        await self._maybe_freeze(request, "after")
        if self.faults and self.faults.strike(self.faults.lose_answer):
            raise Unreachable("connection reset")
        return data

    async def _maybe_freeze(self, request: Request, moment: str) -> None:
        if self.freeze and self.freeze(request, moment):
            await asyncio.Event().wait()

    def _must_find(self, resource: Resource, namespace: str, name: str) -> Json:
        key = (resource.plural, namespace if resource.namespaced else "", name)
        if key not in self._objects:
            raise NotFound(f'{resource.plural}.{resource.group} "{name}" not found')
        return self._objects[key]

    def _change(self, resource: Resource, old: Json, new: Json, subresource: str) -> Json:
        new = copy.deepcopy(new)
        if resource.plural in STATUS_SUBRESOURCE:
            if subresource == "status":
                new = {**copy.deepcopy(old), **({"status": new["status"]} if "status" in new else {})}
            else:
                new.pop("status", None)
                if "status" in old:
                    new["status"] = copy.deepcopy(old["status"])
        meta = new["metadata"]
        for kept in ("uid", "creationTimestamp", "deletionTimestamp", "generation", "resourceVersion"):
            meta.pop(kept, None)
            if kept in old["metadata"]:
                meta[kept] = old["metadata"][kept]
        if new == old:
            return old
        if _essence(new) != _essence(old):
            meta["generation"] = meta.get("generation", 1) + 1
        self._settle((resource.plural, meta.get("namespace", ""), meta["name"]), new)
        self._collect_if_lost(new)
        return new

    def _collect_if_lost(self, obj: Json) -> None:
        """An object may be given an owner that has just gone."""
        owners = {owner["uid"] for owner in obj["metadata"].get("ownerReferences") or ()}
        if self._collect and owners and not any(each["metadata"]["uid"] in owners for each in self._objects.values()):
            asyncio.get_running_loop().call_soon(self.collect_garbage)

    def _settle(self, key: tuple[str, str, str], new: Json) -> None:
        meta = new["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            self._write("DELETED", key, new)
            if self._collect:
                self.collect_garbage()
        else:
            self._write("MODIFIED", key, new)

    def _write(self, type_: str, key: tuple[str, str, str], obj: Json) -> None:
        self._versions.current += 1
        obj["metadata"]["resourceVersion"] = str(self._versions.current)
        if type_ == "DELETED":
            del self._objects[key]
        else:
            self._objects[key] = obj
        frozen = copy.deepcopy(obj)
        self.history.append((self._versions.current, key[0], type_, frozen))
        for watcher in self._watchers:
            if watcher.wants(key[0], frozen):
                self._deliver(watcher, WatchEvent(type_, _encode(frozen)))  # type: ignore[arg-type]

    def _deliver(self, watcher: _Watcher, event: WatchEvent) -> None:
        for item in self._distorted(watcher, event):
            watcher.queue.put_nowait(item)
            watcher.sent.append(item)
        if watcher.faults and watcher.faults.strike(watcher.faults.cut_watch):
            watcher.queue.put_nowait(None)

    def _distorted(self, watcher: _Watcher, event: WatchEvent) -> Iterator[WatchEvent]:
        faults = watcher.faults
        if faults is None:
            yield event
            return
        if faults.strike(faults.lose_event):
            # A stream that lost something is a broken stream: it ends, and its successor starts too late.
            self._versions.compacted = self._versions.current
            watcher.queue.put_nowait(None)
            return
        if watcher.held is None and faults.strike(faults.late_event):
            watcher.held = event
            asyncio.get_running_loop().call_later(0.05, self._release_held, watcher)
            return
        yield event
        if faults.strike(faults.double_event):
            yield event
        if watcher.sent and faults.strike(faults.stale_event):
            yield faults.rng.choice(watcher.sent)
        if watcher.held is not None:
            held, watcher.held = watcher.held, None
            yield held

    def _release_held(self, watcher: _Watcher) -> None:
        if watcher.held is not None:
            watcher.queue.put_nowait(watcher.held)
            watcher.held = None


def apply_json_patch(obj: Json, patch: JsonPatch) -> Json:
    """RFC 6902's test, add, replace and remove; a failed one is the 422 an API server answers."""
    result: Json = copy.deepcopy(obj)
    for operation in patch:
        tokens = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        *parents, last = tokens
        target: Any = result
        try:
            for token in parents:
                target = target[int(token)] if isinstance(target, list) else target[token]
            _operate(target, last, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise Invalid(
                f"the server rejected our request due to an error in our request: {operation}", reason="Invalid"
            ) from error
    return result


def _operate(target: Any, last: str, operation: Json) -> None:
    position: Any = last
    if isinstance(target, list):
        position = len(target) if last == "-" else int(last)
    match operation["op"]:
        case "test":
            if target[position] != operation["value"]:
                raise ValueError(operation["path"])
        case "add":
            if isinstance(target, list):
                target.insert(position, copy.deepcopy(operation["value"]))
            else:
                target[position] = copy.deepcopy(operation["value"])
        case "replace":
            target[position]
            target[position] = copy.deepcopy(operation["value"])
        case "remove":
            del target[position]
        case other:
            raise BadRequest(f"unknown operation {other}")


def _merge(old: Json, patch: Json) -> Json:
    new = copy.deepcopy(old)
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        elif isinstance(value, dict) and isinstance(new.get(key), dict):
            new[key] = _merge(new[key], value)
        else:
            new[key] = copy.deepcopy(value)
    return new


def _admit_vmi(obj: Json, now: str) -> None:
    """What the mutating webhook does to a new VMI: finalizer and first phase."""
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if "kubevirt.io/foregroundDeleteVirtualMachine" not in finalizers:
        finalizers.append("kubevirt.io/foregroundDeleteVirtualMachine")
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"
        status["phaseTransitionTimestamps"] = [{"phase": "Pending", "phaseTransitionTimestamp": now}]


def _essence(obj: Json) -> Json:
    hidden = ("metadata", "status") if obj["kind"] != "VirtualMachineInstance" else ("metadata",)
    return {key: value for key, value in obj.items() if key not in hidden}


def _selected(obj: Json, selector: str) -> bool:
    labels = obj["metadata"].get("labels") or {}
    for term in filter(None, selector.split(",")):
        key, _, value = term.partition("=")
        if labels.get(key) != value.removeprefix("="):
            return False
    return True


def _encode(obj: Json) -> bytes:
    return msgspec.json.encode(obj)
