"""Who may create which DataVolume on the one-machine cluster; asked before KubeVirt's own admission, which it wraps.

A copy of another namespace's claim needs the requester's right to create `datavolumes/source` there. That it was found
is written into the DataVolume for `origin`, and can be written by nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from virt_api import refusals
from virt_kube.admission import Admission, AdmissionRequest, AdmissionResult, UserInfo
from virt_kube.api import Json, KubeClient, NotFound, error_from_status
from virt_kube.informer import Key
from virt_kube.resources import DATA_SOURCES, DATA_VOLUMES, SUBJECT_ACCESS_REVIEWS
from virt_local.datavolumes.origin import AUTHORIZED, Problem, followed, refusal_of
from virt_types import codec, labels
from virt_types.cdi.objects import DataSource, DataVolume
from virt_types.errors import Cause, InvalidObject

NO_RIGHT = "User {user} has insufficient permissions in clone source namespace {namespace}"


class DataVolumeAdmission:
    """Implements `virt_kube.admission.Admission`. `client()` reads DataSources and asks for access reviews."""

    def __init__(self, inner: Admission, client: Callable[[], KubeClient]) -> None:
        self._inner, self._client = inner, client

    async def admit(self, request: AdmissionRequest) -> AdmissionResult:
        """Raises 403 for a copy the requester may not make, 422 for a source that nothing here reads."""
        if (
            (request.group, request.plural) == (DATA_VOLUMES.group, DATA_VOLUMES.plural)
            and request.obj is not None
            and not request.subresource
        ):
            request = request._replace(obj=await self._judged(request, request.obj))
        return await self._inner.admit(request)

    async def _judged(self, request: AdmissionRequest, obj: Json) -> Json:
        if request.old is not None:
            return _annotated(obj, _annotations(request.old).get(AUTHORIZED))
        try:
            dv = codec.from_builtins(obj, DataVolume)
        except InvalidObject:
            return _annotated(obj, None)  # the inner admission says what is wrong with it
        refused = refusal_of(dv.spec.source) if dv.spec.source is not None else ""
        if refused:
            cause = Cause("FieldValueNotSupported", refused, refused.partition(":")[0])
            raise refusals.invalid([cause], kind="datavolume", name=request.name or dv.metadata.name)
        source = await self._claim_of(dv, request.namespace)
        if source is None or source.namespace == request.namespace:
            return _annotated(obj, None)
        # The VM controller has asked for the VM's own service account already.
        if request.user.name != labels.CONTROLLER_USER and not await self._may(request.user, source.namespace):
            text = NO_RIGHT.format(user=request.user.name, namespace=source.namespace)
            raise error_from_status(refusals.status(403, "Forbidden", text))
        return _annotated(obj, str(source))

    async def _claim_of(self, dv: DataVolume, namespace: str) -> Key | None:
        """The claim to be copied, a DataSource's included; None when there is none (yet)."""
        source, reference = dv.spec.source, dv.spec.source_ref
        if source is not None and source.pvc is not None:
            return Key(source.pvc.namespace or namespace, source.pvc.name)
        if reference is None:
            return None
        key = Key(reference.namespace or namespace, reference.name)
        found = {key: await self._data_source(key)}
        first = found[key]
        if first is not None and first.spec.source.data_source is not None:
            further = first.spec.source.data_source
            at = Key(further.namespace or key.namespace, further.name)
            found[at] = await self._data_source(at)
        meant = followed(first, found.get) if first is not None else None
        if meant is None or isinstance(meant, Problem) or meant.pvc is None:
            return None
        return Key(meant.pvc.namespace or key.namespace, meant.pvc.name)

    async def _data_source(self, key: Key) -> DataSource | None:
        try:
            return codec.decode(await self._client().get(DATA_SOURCES, *key), DataSource)
        except NotFound:
            return None

    async def _may(self, user: UserInfo, namespace: str) -> bool:
        asked = {
            "verb": "create",
            "group": DATA_VOLUMES.group,
            "resource": DATA_VOLUMES.plural,
            "subresource": "source",
            "namespace": namespace,
        }
        review: Json = {
            "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
            "kind": SUBJECT_ACCESS_REVIEWS.kind,
            "spec": {"user": user.name, "groups": [*user.groups], "resourceAttributes": asked},
        }
        answer = msgspec.json.decode(await self._client().create(SUBJECT_ACCESS_REVIEWS, "", review))
        return bool((answer.get("status") or {}).get("allowed"))


def _annotations(obj: Json) -> dict[str, Any]:
    return (obj.get("metadata") or {}).get("annotations") or {}


def _annotated(obj: Json, value: str | None) -> Json:
    """With our annotation as it should be, whatever the request said."""
    annotations = _annotations(obj)
    if annotations.get(AUTHORIZED) == value:
        return obj
    kept = {name: text for name, text in annotations.items() if name != AUTHORIZED}
    if value is not None:
        kept[AUTHORIZED] = value
    return {**obj, "metadata": {**obj["metadata"], "annotations": kept}}
