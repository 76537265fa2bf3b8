"""cloud-init seeds: the files of a NoCloud or ConfigDrive volume, from the VMI and the secrets it names. Pure.

Called by `prepare`, which fetches the secrets and writes the ISO.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from virt_handler.errors import VolumeError
from virt_types.v1 import CloudInitConfigDriveSource, CloudInitNoCloudSource, VirtualMachineInstance

Source = CloudInitNoCloudSource | CloudInitConfigDriveSource
USER_KEYS = ("userdata", "userData")
NETWORK_KEYS = ("networkdata", "networkData")
NO_CLOUD_LABEL, CONFIG_DRIVE_LABEL = "cidata", "config-2"
INSTANCE_TYPE_LABEL = "instancetype.kubevirt.io/instancetype"


class Seed(NamedTuple):
    """What both kinds of seed are made of."""

    user_data: bytes
    network_data: bytes
    public_keys: tuple[str, ...] = ()


def key_secrets(vmi: VirtualMachineInstance, source: Source) -> tuple[str, ...]:
    """The secrets of SSH keys that the VMI hands over by this kind of seed."""
    wanted = "no_cloud" if isinstance(source, CloudInitNoCloudSource) else "config_drive"
    keys = [credential.ssh_public_key for credential in vmi.spec.access_credentials if credential.ssh_public_key]
    here = [key.source.secret for key in keys if getattr(key.propagation_method, wanted) is not None]
    return tuple(secret.secret_name for secret in here if secret is not None)


def public_keys(secrets: Iterable[Mapping[str, bytes]], field: str) -> tuple[str, ...]:
    """Every line of every value is a key, as in `authorized_keys`; raises VolumeError for what is no text."""
    try:
        lines = [
            line.strip() for secret in secrets for value in secret.values() for line in value.decode().splitlines()
        ]
    except UnicodeDecodeError:
        raise VolumeError(f"{field}: a secret of accessCredentials is not text", hint="use the .pub file") from None
    return tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


def secret_names(source: Source) -> tuple[str, ...]:
    """The secrets that have to be read first."""
    return tuple(ref.name for ref in (source.secret_ref, source.network_data_secret_ref) if ref and ref.name)


def seed(source: Source, secrets: Mapping[str, Mapping[str, bytes]], field: str) -> Seed:
    """The seed's texts; raises VolumeError when a secret lacks its key or base64 is broken."""
    user = _text(source.user_data, source.user_data_base64, f"{field}.userDataBase64")
    if user is None and source.secret_ref is not None:
        user = _of_secret(secrets, source.secret_ref.name or "", USER_KEYS, field)
    network = _text(source.network_data, source.network_data_base64, f"{field}.networkDataBase64")
    if network is None and source.network_data_secret_ref is not None:
        network = _of_secret(secrets, source.network_data_secret_ref.name or "", NETWORK_KEYS, field)
    return Seed(user or b"", network or b"")


def no_cloud(vmi: VirtualMachineInstance, data: Seed) -> dict[str, bytes]:
    """The files of a NoCloud seed; meta-data is JSON, as KubeVirt writes it."""
    meta: dict[str, object] = {
        "instance-id": _uuid(vmi) or f"{vmi.metadata.name}.{vmi.metadata.namespace}",
        "local-hostname": hostname(vmi),
    }
    if data.public_keys:
        meta["public-keys"] = {str(number): key for number, key in enumerate(data.public_keys)}
    if kind := vmi.metadata.labels.get(INSTANCE_TYPE_LABEL):
        meta["instance-type"] = kind
    files = {"meta-data": msgspec.json.encode(meta), "user-data": data.user_data}
    if data.network_data:
        files["network-config"] = data.network_data
    return files


def config_drive(vmi: VirtualMachineInstance, data: Seed) -> dict[str, bytes]:
    """The files of an OpenStack configuration drive."""
    meta: dict[str, object] = {
        "instance_id": f"{vmi.metadata.name}.{vmi.metadata.namespace}",
        "uuid": _uuid(vmi),
        "hostname": hostname(vmi),
        "local_hostname": hostname(vmi),
    }
    if data.public_keys:
        meta["public_keys"] = {str(number): key for number, key in enumerate(data.public_keys)}
    files = {"meta_data.json": msgspec.json.encode(meta), "user_data": data.user_data}
    if data.network_data:
        files["network_data.json"] = data.network_data
    return {f"openstack/latest/{name}": content for name, content in files.items()}


def hostname(vmi: VirtualMachineInstance) -> str:
    """spec.hostname, else the VMI's name up to its first dot, at most 63 characters."""
    return (vmi.spec.hostname or vmi.metadata.name).partition(".")[0][:63].rstrip("-")


def _uuid(vmi: VirtualMachineInstance) -> str:
    firmware = vmi.spec.domain.firmware
    return (firmware.uuid if firmware is not None else None) or ""


def _text(plain: str | None, encoded: str | None, field: str) -> bytes | None:
    if plain:
        return plain.encode()
    if not encoded:
        return None
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise VolumeError(f"{field} is not base64", hint="encode it: base64 -w0 FILE") from None


def _of_secret(secrets: Mapping[str, Mapping[str, bytes]], name: str, keys: tuple[str, ...], field: str) -> bytes:
    content = secrets.get(name, {})
    for key in keys:
        if key in content:
            return content[key]
    raise VolumeError(
        f"{field}: secret {name!r} has neither key {' nor '.join(keys)}", hint=f"put it under the key {keys[0]!r}"
    )
