"""What a namespace controller does besides deleting contents: say what is left, and give each namespace its account.

`gc.py` calls both; it knows what there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from virt_kube.api import ApiError, Json, KubeClient, Resource
from virt_kube.resources import NAMESPACES
from virt_local.apiserver.metadata import now
from virt_local.store import Key

ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
ACCOUNTS_STORED = "/serviceaccounts"
DEFAULT_ACCOUNT = "default"
_FINE = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions",
     "All legacy kube types successfully parsed"),
    ("NamespaceDeletionContentFailure", "ContentDeleted",
     "All content successfully deleted, may be waiting on finalization"),
)  # fmt: skip


async def give_account(client: KubeClient, namespace: str) -> None:
    """Make sure the namespace has the account its pods use when they name none."""
    try:
        await client.create(ACCOUNTS, namespace, {"metadata": {"name": DEFAULT_ACCOUNT}})
    except ApiError as error:
        if error.code not in (403, 404, 409):  # it is there, or the namespace is going
            raise


async def tell_remains(client: KubeClient, namespace: str, left: Iterable[tuple[Key, Iterable[str]]]) -> None:
    """Write what keeps a namespace from going into its conditions; `left` are its objects with their finalizers."""
    body = msgspec.json.decode(await client.get(NAMESPACES, "", namespace))
    old = {found["type"]: found for found in (body.get("status") or {}).get("conditions") or ()}
    conditions = [_kept(condition, old) for condition in _conditions(left)]
    if conditions == list(old.values()):
        return
    await client.patch(
        NAMESPACES, "", namespace, {"status": {"conditions": conditions}}, kind="merge", subresource="status"
    )


def _conditions(left: Iterable[tuple[Key, Iterable[str]]]) -> list[Json]:
    kinds: Counter[str] = Counter()
    finalizers: Counter[str] = Counter()
    for key, held_by in left:
        group, _, plural = key.resource.partition("/")
        kinds[f"{plural}.{group}"] += 1
        finalizers.update(held_by)
    found = [_condition(kind, "False", reason, message) for kind, reason, message in _FINE]
    remain = ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(kinds.items()))
    message = f"Some resources are remaining: {remain}"
    found.append(_condition("NamespaceContentRemaining", "True", "SomeResourcesRemain", message))
    if finalizers:
        held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
        message = f"Some content in the namespace has finalizers remaining: {held}"
        found.append(_condition("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", message))
    return found


def _condition(kind: str, status: str, reason: str, message: str) -> Json:
    return {"type": kind, "status": status, "lastTransitionTime": now(), "reason": reason, "message": message}


def _kept(condition: Json, old: dict[str, Json]) -> Json:
    """With the time of the last change of its status."""
    before = old.get(condition["type"])
    if before is not None and before["status"] == condition["status"]:
        condition["lastTransitionTime"] = before["lastTransitionTime"]
    return condition
