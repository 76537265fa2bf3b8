"""VirtualMachineInstancePreset: what matching instances get where they say nothing. Deprecated.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, LabelSelector, ObjectMeta
from virt_types.v1.domain import DomainSpec


class VirtualMachineInstancePresetSpec(Base, kw_only=True):
    """The instances that are meant, and what they get."""

    domain: DomainSpec | None = None
    """Each part that an instance has none of is taken from here as a whole."""
    selector: LabelSelector = field(default_factory=LabelSelector)
    """The labels of the instances that are meant."""


class VirtualMachineInstancePreset(Base, kw_only=True):
    """Deprecated: what instances with certain labels get where they say nothing."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstancePresetSpec = field(default_factory=VirtualMachineInstancePresetSpec)
    """The instances that are meant, and what they get."""
