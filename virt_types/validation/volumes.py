"""Rules about volumes (specification 5.4, rules 51, 65 and 76 to 87)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from operator import attrgetter

from virt_types.errors import Cause
from virt_types.k8s.pods import LocalObjectReference
from virt_types.v1 import CloudInitConfigDriveSource, CloudInitNoCloudSource, Volume
from virt_types.validation.scope import (
    PULL_POLICIES,
    Rule,
    Scope,
    dns_label_faults,
    dns_subdomain_faults,
    duplicate,
    file_path,
    invalid,
    number,
    one_of,
    required,
    shown,
)

CLOUD_INIT_LIMIT = 2048
HOST_DISK_TYPES = ("Disk", "DiskOrCreate")
RESERVED_DIRECTORIES = ("/var/run/kubevirt", "/var/run/libvirt")
# Of these a guest can have one.
ONLY_ONE = (
    ("service_account", "serviceAccount"),
    ("downward_metrics", "downwardMetric"),
    ("memory_dump", "memory dump"),
)

SOURCES = tuple(name for name in Volume.__struct_fields__ if name != "name")
_sources_of = attrgetter(*SOURCES)
CloudInit = CloudInitNoCloudSource | CloudInitConfigDriveSource


def names(scope: Scope) -> Iterator[Cause]:
    seen: dict[str, str] = {}
    for path, volume in scope.volumes:
        faults = dns_label_faults(volume.name)
        if faults and all(disk.name != volume.name for _, disk in scope.disks):  # else its disk is told
            yield from (invalid(f"{path}.name", fault) for fault in faults)
        if volume.name in seen:
            yield duplicate(f"{path}.name", f"{path} and {seen[volume.name]} must not have the same Name.")
        seen.setdefault(volume.name, path)


def sources(scope: Scope) -> Iterator[Cause]:
    for path, volume in scope.volumes:
        if _sources_of(volume).count(None) != len(SOURCES) - 1:
            yield invalid(path, f"{path} must have exactly one source type set")


def disks_of_volumes(scope: Scope) -> Iterator[Cause]:
    """Defaulting adds a missing disk, so this speaks only where it didn't run."""
    if scope.template:
        return
    devices = scope.spec.domain.devices
    used = {disk.name for disk in devices.disks} | {filesystem.name for filesystem in devices.filesystems}
    for path, volume in scope.volumes:
        if volume.memory_dump is None and volume.name not in used:
            yield invalid(f"{path}.name", f"{path}.name '{shown(volume.name)}' not found.")
        if volume.container_path is not None:
            yield from _container_path(scope, path, volume)


def _container_path(scope: Scope, path: str, volume: Volume) -> Iterator[Cause]:
    """A directory of the launcher is shared as one."""
    devices, name = scope.spec.domain.devices, shown(volume.name)
    if any(disk.name == volume.name for disk in devices.disks):
        yield invalid(path, f"ContainerPath volume '{name}' must be mapped to a filesystem, not a disk")
    if all(filesystem.name != volume.name for filesystem in devices.filesystems):
        where = "must have a matching filesystem defined in spec.domain.devices.filesystems"
        yield invalid(path, f"ContainerPath volume '{name}' {where}")
    inside = volume.container_path.path if volume.container_path is not None else ""
    for prefix in RESERVED_DIRECTORIES:
        if inside.startswith(prefix):
            message = f"ContainerPath volume '{name}' uses reserved path prefix '{prefix}'"
            yield invalid(f"{path}.containerPath.path", message)


def referred_names(scope: Scope) -> Iterator[Cause]:
    for path, volume in scope.volumes:
        if volume.data_volume is not None and not volume.data_volume.name:
            yield required(f"{path}.dataVolume.name", "DataVolume 'name' must be set")
        claim = volume.persistent_volume_claim
        if claim is not None and not claim.claim_name:
            yield _missing(f"{path}.persistentVolumeClaim.claimName")
        if volume.memory_dump is not None and not volume.memory_dump.claim_name:
            yield _missing(f"{path}.memoryDump.claimName")
        if volume.ephemeral is not None:
            below = volume.ephemeral.persistent_volume_claim
            if below is None:
                yield _missing(f"{path}.ephemeral.persistentVolumeClaim")
            elif not below.claim_name:
                yield _missing(f"{path}.ephemeral.persistentVolumeClaim.claimName")
        if volume.config_map is not None and not volume.config_map.name:
            yield _missing(f"{path}.configMap.name")
        if volume.secret is not None and not volume.secret.secret_name:
            yield _missing(f"{path}.secret.secretName")
        if volume.service_account is not None and not volume.service_account.service_account_name:
            yield _missing(f"{path}.serviceAccount.serviceAccountName")


def _missing(field: str) -> Cause:
    return required(field, f"{field} is a required field")


def container_disks(scope: Scope) -> Iterator[Cause]:
    for path, volume in scope.volumes:
        disk = volume.container_disk
        if disk is None:
            continue
        field = f"{path}.containerDisk"
        if disk.path:
            yield from file_path(f"{field}.path", disk.path)
        if not disk.image:
            yield required(f"{field}.image", f"{field}.image is a required field")
        if disk.image_pull_policy not in (None, "", *PULL_POLICIES):
            yield one_of(f"{field}.imagePullPolicy", PULL_POLICIES)


def empty_disks(scope: Scope) -> Iterator[Cause]:
    for path, volume in scope.volumes:
        size = number(volume.empty_disk.capacity) if volume.empty_disk else None
        if size is not None and size <= 0:  # upstream takes it, and the guest never starts
            field = f"{path}.emptyDisk.capacity"
            yield invalid(field, f"{field} must be greater than 0.")


def host_disks(scope: Scope) -> Iterator[Cause]:
    for path, volume in scope.volumes:
        disk = volume.host_disk
        if disk is None:
            continue
        field = f"{path}.hostDisk"
        if not scope.settings.enabled("HostDisk"):
            yield invalid(path, "HostDisk feature gate is not enabled")
        if not disk.path:
            yield required(f"{field}.path", f"{field}.path is required for hostDisk volume")
        elif not disk.path.startswith("/") or ".." in disk.path.split("/") or not disk.path.isprintable():
            yield invalid(f"{field}.path", f"{field}.path must be an absolute path without relative components")
        if disk.type not in HOST_DISK_TYPES:
            message = f"{field}.type has invalid value '{shown(disk.type)}', allowed are 'Disk' or 'DiskOrCreate'"
            yield invalid(f"{field}.type", message)
        capacity = number(disk.capacity)
        if disk.type == "Disk" and capacity:
            message = f"{field}.capacity is allowed to pass only with {field}.type equal to 'DiskOrCreate'"
            yield invalid(f"{field}.capacity", message)
        if disk.type == "DiskOrCreate" and (capacity is None or capacity <= 0):
            yield required(f"{field}.capacity", f"{field}.capacity must be greater than 0 to create a disk")


def cloud_init(scope: Scope) -> Iterator[Cause]:
    for path, volume in scope.volumes:
        for name, source in (
            ("cloudInitNoCloud", volume.cloud_init_no_cloud),
            ("cloudInitConfigDrive", volume.cloud_init_config_drive),
        ):
            if source is not None:
                yield from _cloud_init(f"{path}.{name}", source)


def _cloud_init(field: str, source: CloudInit) -> Iterator[Cause]:
    user = sum(map(bool, (source.user_data, source.user_data_base64, _named(source.secret_ref))))
    network = sum(map(bool, (source.network_data, source.network_data_base64, _named(source.network_data_secret_ref))))
    if user > 1:
        yield invalid(field, f"{field} must have only one userdatasource set.")
    if network > 1:
        yield invalid(field, f"{field} must have only one networkdata source set.")
    if not user and not network:
        yield invalid(field, f"{field} must have at least one userdatasource or one networkdatasource set.")
    for name, plain, encoded, reference in (
        ("user", source.user_data, source.user_data_base64, "UserDataSecretRef"),
        ("network", source.network_data, source.network_data_base64, "NetworkDataSecretRef"),
    ):
        size = _decoded_size(encoded) if encoded else len((plain or "").encode())
        if size is None:
            yield invalid(f"{field}.{name}DataBase64", f"{field}.{name}DataBase64 is not a valid base64 value.")
        elif size > CLOUD_INIT_LIMIT:
            limit = f"{field} {name}data exceeds {CLOUD_INIT_LIMIT} byte limit"
            yield invalid(field, f"{limit}. Should use {reference} for larger data.")


def _named(secret: LocalObjectReference | None) -> str | None:
    return None if secret is None else secret.name


def _decoded_size(text: str) -> int | None:
    try:
        return len(base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True))
    except (binascii.Error, ValueError):
        return None


def one_of_a_kind(scope: Scope) -> Iterator[Cause]:
    seeds = [path for path, volume in scope.volumes if volume.cloud_init_no_cloud or volume.cloud_init_config_drive]
    if len(seeds) > 1:  # a guest reads only the first it finds
        field = scope.at("volumes")
        yield invalid(field, f"{field} must have max one cloud-init volume set, not {' and '.join(seeds)}")
    for attribute, words in ONLY_ONE:
        if sum(getattr(volume, attribute) is not None for volume in scope.spec.volumes) > 1:
            field = scope.at("volumes")
            yield invalid(field, f"{field} must have max one {words} volume set")


def gated(scope: Scope) -> Iterator[Cause]:
    for path, volume in scope.volumes:
        if volume.downward_metrics is not None and not scope.settings.enabled("DownwardMetrics"):
            message = "downwardMetrics disks are not allowed: DownwardMetrics feature gate is not enabled."
            yield invalid(path, message)
    if scope.spec.utility_volumes:
        message = "cannot create VMI with utility volumes in spec, utility volumes can only be added via hotplug"
        yield invalid(scope.at("utilityVolumes"), message)


def service_account(scope: Scope) -> Iterator[Cause]:
    name = scope.spec.service_account_name
    if not name:
        return
    field = scope.at("serviceAccountName")
    if faults := "; ".join(dns_subdomain_faults(name)):
        yield invalid(field, f"{field} is not a valid service account name: {faults}")
    others = (volume.service_account.service_account_name for volume in scope.spec.volumes if volume.service_account)
    other = next((other for other in others if other != name), None)
    if other is not None:
        quoted = f'spec.serviceAccountName "{shown(name)}" and serviceAccount volume "{shown(other)}"'
        yield invalid(field, f"{quoted} must reference the same service account")


RULES: tuple[Rule, ...] = (
    names,
    sources,
    disks_of_volumes,
    referred_names,
    container_disks,
    empty_disks,
    host_disks,
    cloud_init,
    one_of_a_kind,
    gated,
    service_account,
)
