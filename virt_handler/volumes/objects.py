"""Secrets, config maps and claims a VMI names, read from the API when they are needed and never kept."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from virt_handler.errors import ClaimNotFilled, ClaimNotFound, ObjectNotFound, VolumeError
from virt_kube.api import KubeClient, NotFound, Resource
from virt_kube.resources import PERSISTENT_VOLUME_CLAIMS
from virt_types.cdi.claims import awaits_filling
from virt_types.labels import CLAIM_PREALLOCATION
from virt_types.quantity import to_bytes
from virt_types.v1 import PersistentVolumeClaimInfo

SECRETS = Resource("", "v1", "secrets", "Secret")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
DOCKER_CONFIG = ".dockerconfigjson"
MOST_CLAIMS = 10_000


class _Named(msgspec.Struct):
    """The content of a secret or config map; values of a secret and binary values are base64."""

    data: dict[str, str] = {}
    binary_data: dict[str, str] = msgspec.field(default_factory=dict, name="binaryData")


class Objects:
    """Reads on behalf of one namespace's VMI: a VMI gets at nothing of another namespace."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._claims: dict[tuple[str, str], PersistentVolumeClaimInfo] = {}

    def claim_info(self, namespace: str, name: str) -> PersistentVolumeClaimInfo | None:
        """What was read of the claim the last time it was used; None for one of a former life of this program."""
        return self._claims.get((namespace, name))

    async def secret(self, namespace: str, name: str, field: str, *, optional: bool = False) -> dict[str, bytes]:
        """A secret's values by key; raises ObjectNotFound unless `optional`."""
        found = await self._read(SECRETS, namespace, name, field, optional=optional)
        return {key: _decoded(value, field) for key, value in found.data.items()}

    async def config_map(self, namespace: str, name: str, field: str, *, optional: bool = False) -> dict[str, bytes]:
        """A config map's values by key; raises ObjectNotFound unless `optional`."""
        found = await self._read(CONFIG_MAPS, namespace, name, field, optional=optional)
        texts = {key: value.encode() for key, value in found.data.items()}
        return texts | {key: _decoded(value, field) for key, value in found.binary_data.items()}

    async def claim_capacity(self, namespace: str, name: str) -> int:
        """Bytes of a PersistentVolumeClaim: what it has, else what it asks for.

        Raises ClaimNotFound, and ClaimNotFilled for one that is no disk yet.
        """
        try:
            data = await self._client.get(PERSISTENT_VOLUME_CLAIMS, namespace, name)
        except NotFound:
            raise ClaimNotFound(
                f"PVC {namespace}/{name} does not exist, waiting for it to appear",
                hint=f"kubectl -n {namespace} get pvc",
            ) from None
        claim: dict[str, Any] = msgspec.json.decode(data)
        if awaits_filling((claim.get("metadata") or {}).get("annotations") or {}):
            raise ClaimNotFilled(
                f"PVC {namespace}/{name} is not filled yet, waiting for its DataVolume or upload",
                hint=f"kubectl -n {namespace} describe dv {name}",
            )
        info = _info(claim)
        if len(self._claims) >= MOST_CLAIMS:
            self._claims.clear()
        self._claims[namespace, name] = info
        return to_bytes(info.capacity.get("storage") or info.requests.get("storage") or 0)

    async def _read(self, resource: Resource, namespace: str, name: str, field: str, *, optional: bool) -> _Named:
        try:
            return msgspec.json.decode(await self._client.get(resource, namespace, name), type=_Named)
        except NotFound:
            if optional:
                return _Named()
            raise ObjectNotFound(f"{field}: {resource.kind} {namespace}/{name} does not exist") from None
        except msgspec.MsgspecError:
            raise VolumeError(f"{field}: {resource.kind} {namespace}/{name} can't be read") from None


def _info(claim: dict[str, Any]) -> PersistentVolumeClaimInfo:
    meta, spec, status = (claim.get(part) or {} for part in ("metadata", "spec", "status"))
    preallocated = (meta.get("annotations") or {}).get(CLAIM_PREALLOCATION) == "true"
    return PersistentVolumeClaimInfo(
        claim_name=meta.get("name"),
        access_modes=spec.get("accessModes") or [],
        volume_mode=spec.get("volumeMode") or "Filesystem",
        capacity=status.get("capacity") or {},
        requests=(spec.get("resources") or {}).get("requests") or {},
        preallocated=preallocated or None,
    )


def _decoded(value: str, field: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise VolumeError(f"{field}: a value that should be base64 is not") from None
