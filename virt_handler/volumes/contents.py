"""Files of config maps, secrets and the downward API, for a disk (`prepare`) or a shared directory (`shares`)."""

from __future__ import annotations

from typing import NamedTuple

from virt_handler.volumes import downward
from virt_handler.volumes.objects import Objects
from virt_types.v1 import VirtualMachineInstance, Volume

LABEL = "cfgdata"


class Contents(NamedTuple):
    """Files by name, and the label of a disk made of them."""

    label: str
    files: dict[str, bytes]


def has_contents(volume: Volume) -> bool:
    """Whether the volume is of a kind that `contents_of` reads."""
    return any(kind is not None for kind in (volume.config_map, volume.secret, volume.downward_api))


async def contents_of(objects: Objects, vmi: VirtualMachineInstance, volume: Volume, field: str) -> Contents:
    """The files as they are now; none for another kind of volume. Raises VolumeError."""
    namespace, config, secret = vmi.metadata.namespace, volume.config_map, volume.secret
    if config is not None:
        found = await objects.config_map(namespace, config.name or "", field, optional=bool(config.optional))
        return Contents(config.volume_label or LABEL, found)
    if secret is not None:
        found = await objects.secret(namespace, secret.secret_name or "", field, optional=bool(secret.optional))
        return Contents(secret.volume_label or LABEL, found)
    if (fields := volume.downward_api) is not None:
        return Contents(fields.volume_label or LABEL, downward.files(vmi, fields.fields, field))
    return Contents(LABEL, {})
