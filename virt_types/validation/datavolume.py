"""Rules about DataVolumes and DataSources (specification 7.1) and a machine's templates of them (rules 6 to 9)."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import astuple

from virt_types.cdi.objects import DataSource, DataVolume
from virt_types.cdi.v1beta1 import DataVolumeSource, DataVolumeSpec, StorageSpec
from virt_types.errors import Cause
from virt_types.k8s.pods import PersistentVolumeClaimSpec
from virt_types.validation.scope import (
    MIB,
    QUANTITY_TEXT,
    duplicate,
    invalid,
    number,
    one_of,
    required,
    shown,
    unsupported,
)

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem", "FromStorageProfile")
DATA_SOURCE = "DataSource"
Claim = PersistentVolumeClaimSpec | StorageSpec


def target(path: str, spec: DataVolumeSpec) -> Iterator[Cause]:
    """Exactly one description of the claim."""
    if spec.pvc is None and spec.storage is None:
        yield required(path, "Missing Data volume PVC or Storage")
    if spec.pvc is not None and spec.storage is not None:
        yield duplicate(path, "Duplicate storage definition, both target storage and target pvc defined")


def origin(path: str, spec: DataVolumeSpec) -> Iterator[Cause]:
    """Exactly one place the bytes come from."""
    populated = any(
        claim is not None and (claim.data_source is not None or claim.data_source_ref is not None)
        for claim in (spec.pvc, spec.storage)
    )
    sources = (spec.source is not None) + (spec.source_ref is not None)
    if populated and sources:
        yield invalid(f"{path}.source", "External population is incompatible with Source and SourceRef")
    elif sources != 1 and not populated:
        message = "Data volume should have either Source, SourceRef, or be externally populated"
        yield invalid(f"{path}.sourceRef", message)
    if spec.source is None:
        return
    given = _given(spec.source)
    if not given:
        yield invalid(f"{path}.source", "Missing dataVolume valid source")
    if given > 1:
        yield invalid(f"{path}.source", "Multiple dataVolume sources")


def modes(path: str, spec: DataVolumeSpec) -> Iterator[Cause]:
    """Enumerations, which the schema of a machine's templates leaves open."""
    for name, claim in (("pvc", spec.pvc), ("storage", spec.storage)):
        if claim is None:
            continue
        if any(mode not in ACCESS_MODES for mode in claim.access_modes):
            yield one_of(f"{path}.{name}.accessModes", ACCESS_MODES)
        if claim.volume_mode is not None and claim.volume_mode not in VOLUME_MODES:
            yield one_of(f"{path}.{name}.volumeMode", VOLUME_MODES)


def _given(source: DataVolumeSource) -> int:
    return sum(getattr(source, name) is not None for name in source.__struct_fields__)


def data_volume(dv: DataVolume) -> Iterator[Cause]:
    """What CDI asks of a DataVolume of its own, which it creates a claim from at once."""
    spec = dv.spec
    yield from target("spec", spec)
    yield from origin("spec", spec)
    yield from _source_ref(spec)
    for name, claim in (("pvc", spec.pvc), ("storage", spec.storage)):
        if claim is not None:
            yield from _claim(f"spec.{name}", name, claim, spec)


def _source_ref(spec: DataVolumeSpec) -> Iterator[Cause]:
    reference = spec.source_ref
    if reference is None:
        return
    if not reference.kind:
        yield required("spec.sourceRef.kind", "Missing sourceRef kind")
    elif reference.kind != DATA_SOURCE:
        kind = shown(reference.kind)
        message = f"Unsupported sourceRef kind {kind}, currently only {DATA_SOURCE} is supported"
        yield invalid("spec.sourceRef.kind", message)
    if not reference.name:
        yield required("spec.sourceRef.name", "Missing sourceRef name")


def _claim(path: str, name: str, claim: Claim, spec: DataVolumeSpec) -> Iterator[Cause]:
    modes = claim.access_modes
    if name == "pvc" and not modes:  # `storage` has them from the storage class
        yield required(f"{path}.accessModes", "Required value: at least 1 access mode is required")
    if len(modes) > 1:
        yield invalid(f"{path}.accessModes", "PVC multiple accessModes")
    for mode in modes:
        if mode not in ACCESS_MODES:
            listed = ", ".join(f'"{allowed}"' for allowed in ACCESS_MODES)
            message = f'Unsupported value: "{shown(mode)}": supported values: {listed}'
            yield unsupported(f"{path}.accessModes", message)
    yield from _size(path, name, claim, spec)
    old, new = claim.data_source, claim.data_source_ref
    if old is not None and new is not None and (old.kind, old.name) != (new.kind, new.name):
        yield invalid(f"{path}.dataSourceRef", "DataSourceRef and DataSource must match")


def _size(path: str, name: str, claim: Claim, spec: DataVolumeSpec) -> Iterator[Cause]:
    field = f"{path}.resources.requests.storage"
    value = claim.resources.requests.get("storage")
    if value is None:
        if name == "pvc" or not _knows_its_size(spec):
            yield required(field, f"{name.upper() if name == 'pvc' else 'Storage'} size is missing")
        return
    size = number(value)
    word = "PVC" if name == "pvc" else "Storage"
    if size is None:
        yield invalid(field, f"{field} '{shown(value)}': {QUANTITY_TEXT}")
    elif size <= 0:
        yield invalid(field, f"{word} size can't be equal or less than zero")
    elif size < MIB:
        yield invalid(field, f"{word} size should be at least 1MiB")


def _knows_its_size(spec: DataVolumeSpec) -> bool:
    """A copy can be as large as its original."""
    source = spec.source
    return spec.source_ref is not None or (
        source is not None and (source.pvc is not None or source.snapshot is not None)
    )


def data_source(source: DataSource) -> Iterator[Cause]:
    """A DataSource may stand for nothing yet, but not for two things."""
    if sum(value is not None for value in astuple(source.spec.source)) > 1:
        yield invalid("spec.source", "Multiple dataSource sources: use one of pvc, snapshot, dataSource")
