"""Where disks' bytes come from."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "CloudInitNoCloudSource": {
        "": "A cloud-init disk, found by its label cidata.",
        "networkData": "The network data in plain text, at most 2048 bytes.",
        "networkDataBase64": "The network data in base64, at most 2048 bytes decoded.",
        "networkDataSecretRef": "A Secret whose key networkdata holds the network data.",
        "secretRef": "A Secret whose key userdata holds the user data.",
        "userData": "The user data in plain text, at most 2048 bytes.",
        "userDataBase64": "The user data in base64, at most 2048 bytes decoded.",
    },
    "CloudInitConfigDriveSource": {
        "": "A cloud-init disk in OpenStack's form, label config-2.",
        "networkData": "The network data in plain text, at most 2048 bytes.",
        "networkDataBase64": "The network data in base64, at most 2048 bytes decoded.",
        "networkDataSecretRef": "A Secret whose key networkdata holds the network data.",
        "secretRef": "A Secret whose key userdata holds the user data.",
        "userData": "The user data in plain text, at most 2048 bytes.",
        "userDataBase64": "The user data in base64, at most 2048 bytes decoded.",
    },
    "ConfigMapVolumeSource": {
        "": "A ConfigMap's keys as files on a disk.",
        "name": "The ConfigMap, in the same namespace.",
        "optional": "Whether the guest may start without it; default false.",
    },
    "ContainerDiskSource": {
        "": "A disk from a container image; changes are lost at the end.",
        "image": "The image; its disk is in the directory /disk.",
        "imagePullPolicy": "Always, IfNotPresent or Never.",
        "imagePullSecret": "A Secret with the credentials of the registry.",
        "path": "The disk's path in the image, when /disk holds no single file.",
    },
    "ContainerPathVolumeSource": {
        "": "A directory of the launcher, read-only.",
        "path": "The directory's absolute path at the launcher, at most 4096 characters.",
        "readOnly": "true, the default; nothing else is possible.",
    },
    "DataVolumeSource": {
        "": "A DataVolume; within one, where its bytes come from.",
        "name": "The DataVolume, and so its claim, in the same namespace.",
    },
    "DownwardAPIVolumeSource": {
        "": "Fields of the object as files on a disk.",
        "fields": "The files and what is in them.",
    },
    "DownwardMetricsVolumeSource": {
        "": "Metrics of the node, as a small disk.",
    },
    "EmptyDiskSource": {
        "": "A new, empty disk; gone at the end.",
        "capacity": "Its size, such as 2Gi.",
    },
    "EphemeralVolumeSource": {
        "": "A claim's disk, read-only, with changes that are lost at the end.",
    },
    "HostDisk": {
        "": "A disk image on the node.",
        "capacity": "The size to create it with.",
        "path": "The image's absolute path on the node.",
        "shared": "Whether every node has the same file there, so that the guest can move; default false.",
        "type": "Disk (it exists) or DiskOrCreate.",
    },
    "MemoryDumpVolumeSource": {
        "": "A claim that takes memory dumps.",
    },
    "PersistentVolumeClaimVolumeSource": {
        "": "A PersistentVolumeClaim.",
    },
    "SecretVolumeSource": {
        "": "A Secret's keys as files on a disk.",
        "optional": "Whether the guest may start without it; default false.",
        "secretName": "The Secret, in the same namespace.",
    },
    "ServiceAccountVolumeSource": {
        "": "A service account's token as a file on a disk.",
        "serviceAccountName": "The service account, in the same namespace.",
    },
    "SysprepSource": {
        "": "Windows answer files from a ConfigMap or Secret.",
    },
    "Volume": {
        "": "Where a disk's bytes come from: exactly one source.",
        "name": "Unique within the guest; its disk or file system has the same name.",
    },
    "UtilityVolume": {
        "": "A claim for the launcher's own use.",
        "name": "Unique among all volumes of the guest.",
        "type": "What it is for, such as MemoryDump or Backup.",
    },
    "HotplugVolumeSource": {
        "": "A volume to plug in.",
    },
    "AddVolumeOptions": {
        "": "A disk to plug in.",
        "name": "The new volume and its disk, whatever name the disk has.",
        "dryRun": '["All"] only checks.',
    },
    "RemoveVolumeOptions": {
        "": "A disk to pull out.",
        "name": "The volume and its disk.",
        "dryRun": '["All"] only checks.',
    },
}
