"""Where a DataVolume's bytes come from, once references are followed: which claim, or why none yet. Pure.

A DataSource names a claim, or another DataSource (one step, same namespace). Beyond CDI's API it may also name an http
or registry source, as published examples do. Called by `controller` for DataVolumes and by `sources` for DataSources.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from virt_kube.informer import Key
from virt_local.claims import Claim
from virt_local.datavolumes.plan import Source
from virt_types import labels
from virt_types.cdi.claims import awaits_filling
from virt_types.cdi.objects import DataSource, DataSourceSource, DataVolume, ImportSource
from virt_types.cdi.v1beta1 import DataVolumeSourcePVC
from virt_types.quantity import to_bytes

# Set at admission, when the requester was found to have the right; never taken from a request.
AUTHORIZED = "virtctl.local/authorized-source"

DataSourceOf = Callable[[Key], DataSource | None]
ClaimOf = Callable[[Key], Claim | None]

NOT_HERE = "this machine has nothing that reads it; use http, registry, pvc, upload or blank"
REFUSED = ("s3", "gcs", "imageio", "vddk", "snapshot")


class Problem(NamedTuple):
    """Why there is no source. `fatal`: waiting does not help."""

    reason: str
    message: str
    fatal: bool = False


class Origin(NamedTuple):
    """A source that can be read now, or a problem. `size` of a claim to copy, in bytes."""

    source: Source | None = None
    problem: Problem | None = None
    size: int = 0


def followed(found: DataSource, data_source_of: DataSourceOf) -> DataSourceSource | Problem:
    """What a DataSource stands for, its reference followed (spec 7.3)."""
    source, own = found.spec.source, Key(found.metadata.namespace, found.metadata.name)
    if source.data_source is None:
        return source
    target = Key(source.data_source.namespace or own.namespace, source.data_source.name)
    if target == own:
        return Problem("SelfReference", "DataSource cannot self-reference")
    if target.namespace != own.namespace:
        return Problem("CrossNamespaceReference", "DataSource cannot reference a DataSource in another namespace")
    further = data_source_of(target)
    if further is None:
        return Problem("NotFound", f"DataSource {target} not found")
    if further.spec.source.data_source is not None:
        return Problem("MaxReferenceDepthReached", "DataSource reference chain exceeds maximum depth of 1")
    return further.spec.source


def refusal_of(source: ImportSource) -> str:
    """Why nothing on this machine reads the source, by field; "" when something does."""
    return next((f"spec.source.{name}: {NOT_HERE}" for name in REFUSED if getattr(source, name) is not None), "")


def origin_of(dv: DataVolume, data_source_of: DataSourceOf, claim_of: ClaimOf) -> Origin:
    """The source of a DataVolume."""
    namespace, spec = dv.metadata.namespace, dv.spec
    if spec.source_ref is not None:
        key = Key(spec.source_ref.namespace or namespace, spec.source_ref.name)
        return _of_data_source(dv, key, data_source_of, claim_of)
    source = spec.source
    if source is None:
        message = "spec.source is missing: volumes populated by others (dataSourceRef) are not supported here"
        return Origin(problem=Problem("NotSupported", message, fatal=True))
    refused = refusal_of(source)
    if refused:
        return Origin(problem=Problem("NotSupported", refused, fatal=True))
    if source.pvc is not None:
        return _of_claim(dv, Key(source.pvc.namespace or namespace, source.pvc.name), claim_of)
    return Origin(source.http or source.registry or source.upload or source.blank)


def _of_data_source(dv: DataVolume, key: Key, data_source_of: DataSourceOf, claim_of: ClaimOf) -> Origin:
    found = data_source_of(key)
    if found is None:
        return Origin(problem=Problem("NotFound", f"DataSource {key} not found"))
    meant = followed(found, data_source_of)
    if isinstance(meant, Problem):
        return Origin(problem=meant._replace(message=f"DataSource {key}: {meant.message}"))
    if meant.snapshot is not None:
        return Origin(problem=Problem("NotSupported", f"DataSource {key}: source.snapshot: {NOT_HERE}", fatal=True))
    if meant.pvc is not None:
        return _of_claim(dv, Key(meant.pvc.namespace or key.namespace, meant.pvc.name), claim_of)
    plain = meant.http or meant.registry
    missing = Problem("NoSource", f"DataSource {key}: No source PVC set")
    return Origin(plain) if plain is not None else Origin(problem=missing)


def _of_claim(dv: DataVolume, key: Key, claim_of: ClaimOf) -> Origin:
    if key.namespace != dv.metadata.namespace and dv.metadata.annotations.get(AUTHORIZED) != str(key):
        message = f"nobody with the right to copy {key} created this DataVolume (create datavolumes/source there)"
        return Origin(problem=Problem("CloneNotAuthorized", message, fatal=True))
    claim = claim_of(key)
    if claim is None:
        return Origin(problem=Problem("CloneSourceNotFound", f"source PVC {key} not found"))
    size = to_bytes(claim.status.capacity.get("storage") or claim.spec.resources.requests.get("storage", 0))
    if claim.status.phase != "Bound" or awaits_filling(claim.metadata.annotations):
        message = f"source PVC {key} is not filled yet"
        return Origin(problem=Problem("CloneSourceNotReady", message), size=size)
    if claim.metadata.annotations.get(labels.CLAIM_CONTENT_TYPE, "kubevirt") != (dv.spec.content_type or "kubevirt"):
        message = f"source PVC {key} holds another contentType than this DataVolume asks for"
        return Origin(problem=Problem("CloneValidationFailed", message, fatal=True))
    return Origin(DataVolumeSourcePVC(namespace=key.namespace, name=key.name), size=size)
