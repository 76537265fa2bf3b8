"""CDI: DataVolumes and DataSources."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "PlatformOptions": {
        "": "The architecture of an image.",
        "architecture": "Such as amd64 or arm64, where an image has several.",
    },
    "DataVolumeBlankImage": {
        "": "An empty disk.",
    },
    "DataVolumeSourceGCS": {
        "": "A disk image from Google's storage.",
        "secretRef": "A Secret with the credentials.",
        "url": "Where the image is: gs://BUCKET/OBJECT, or https.",
    },
    "DataVolumeSourceHTTP": {
        "": "A disk image from a web server.",
        "certConfigMap": "A ConfigMap with the authority the server's certificate is checked by, as PEM.",
        "extraHeaders": 'Headers sent with every request, each as "Name: value".',
        "secretExtraHeaders": "Secrets whose values are such headers.",
        "secretRef": "A Secret with a user name (key accessKeyId) and a password (key secretKey).",
        "url": "Where the image is: http or https.",
    },
    "DataVolumeSourceImageIO": {
        "": "A disk of oVirt.",
        "certConfigMap": "A ConfigMap with the authority the engine's certificate is checked by.",
        "diskId": "The disk, as the engine names it.",
        "insecureSkipVerify": "Takes any certificate; default false.",
        "secretRef": "A Secret with the credentials of the engine.",
        "url": "Where the oVirt engine is.",
    },
    "DataVolumeSourcePVC": {
        "": "A copy of a claim.",
        "name": "The claim to copy.",
        "namespace": "Where the claim is.",
    },
    "DataVolumeSourceRegistry": {
        "": "A disk image from a container registry.",
        "certConfigMap": "A ConfigMap with the authority the registry's certificate is checked by.",
        "imageStream": "An image stream of OpenShift, instead of a url.",
        "pullMethod": "pod (default: the importer pulls) or node (the node's container runtime does).",
        "secretRef": "A Secret with the credentials of the registry.",
        "url": "The image: docker://REGISTRY/NAME:TAG, or oci-archive:PATH.",
    },
    "DataVolumeSourceS3": {
        "": "A disk image from an S3 bucket.",
        "certConfigMap": "A ConfigMap with the authority the server's certificate is checked by.",
        "secretRef": "A Secret with the access key (key accessKeyId) and the secret key (key secretKey).",
        "url": "Where the image is: s3://BUCKET/OBJECT, or https.",
    },
    "DataVolumeSourceSnapshot": {
        "": "A copy of a snapshot.",
        "name": "The VolumeSnapshot to copy.",
        "namespace": "Where the VolumeSnapshot is.",
    },
    "DataVolumeSourceUpload": {
        "": "A disk image that a user uploads.",
    },
    "DataVolumeSourceVDDK": {
        "": "A disk of VMware.",
        "backingFile": 'The path of the virtual disk on its server, such as "[store] vm/vm.vmdk".',
        "extraArgs": "A ConfigMap with settings for the VDDK library.",
        "initImageURL": "A container image that has the VDDK library.",
        "secretRef": "A Secret with user name and password of the server.",
        "thumbprint": "The server's certificate, by its SHA-1 thumbprint.",
        "url": "Where the vCenter or ESXi server is.",
        "uuid": "The machine on that server that has the disk.",
    },
    "DataVolumeSource": {
        "": "A DataVolume; within one, where its bytes come from.",
    },
    "DataVolumeSourceRef": {
        "": "A DataSource.",
        "kind": "DataSource; there is no other.",
        "name": "The DataSource.",
        "namespace": "Where the DataSource is; default is the DataVolume's namespace.",
    },
    "DataVolumeCheckpoint": {
        "": "A step of a warm migration.",
        "current": "The snapshot of this step, as the source names it.",
        "previous": "The snapshot of the step before; empty for the first.",
    },
    "StorageSpec": {
        "": "A claim with gaps that are filled in.",
        "accessModes": "Such as ReadWriteOnce; default is what the storage class is known to do best.",
        "storageClassName": "The storage class; default is the cluster's default for machines.",
        "volumeMode": "Filesystem or Block; default is what the storage class is known to do best.",
        "volumeName": "The PersistentVolume to take; default is any that fits.",
    },
    "DataVolumeSpec": {
        "": "A claim and what to fill it with.",
        "contentType": "kubevirt (default: a disk image) or archive (a tar file, unpacked).",
        "finalCheckpoint": "Whether the last checkpoint ends the transfer; default false.",
        "preallocation": "Takes all of the disk's space at once; default false.",
        "priorityClassName": "The priority of the pods that transfer.",
        "pvc": "The claim, word for word.",
        "source": "Where the bytes come from: exactly one.",
        "storage": "The claim; access mode and volume mode are filled in.",
        "checkpoints": "The steps of a warm migration, in order.",
    },
    "ImportCondition": {
        "": "One aspect of the state.",
        "type": "Bound, Running or Ready.",
    },
    "ImportSourceHTTP": {
        "": "A disk image from a web server, with its checksum.",
        "checksum": "Of the bytes as they are sent: md5, sha1, sha256 or sha512, a colon, hex digits.",
        "insecureSkipVerify": "Takes any certificate.",
    },
    "ImportSourceVDDK": {
        "": "A disk of VMware, with the authority its server is checked by.",
        "certConfigMap": "The ConfigMap that holds the authority's certificate.",
    },
    "ImportSource": {
        "": "Where the bytes come from: exactly one.",
        "http": "A disk image from a web server.",
    },
    "ImportSpec": {
        "": "A claim and what to fill it with.",
        "serviceAccountName": "Whom the transfer runs as.",
    },
    "DataVolumeStatus": {
        "": "How far the claim is filled.",
        "claimName": "The claim, which has the DataVolume's name.",
        "phase": "Pending, ImportInProgress, Succeeded, Failed and the like.",
        "progress": "Per cent that are transferred, N/A while unknown.",
        "restartCount": "How often the transfer began anew.",
        "conditions": "Bound, Running and Ready, each with a reason and a message.",
    },
    "DataVolume": {
        "": "A claim and what to fill it with, and how far that is.",
        "spec": "The claim and its source; fixed once it is created.",
    },
    "DataSourceReference": {
        "": "Namespace and name of what is meant.",
    },
    "DataSourceSource": {
        "": (
            "At most one. `http` and `registry` are not CDI's: published examples have them, and one machine "
            "reads them."
        ),
    },
    "DataSourceSpec": {
        "": "What the name stands for.",
    },
    "DataSourceStatus": {
        "": "What the name stands for right now.",
        "conditions": "Ready and Running, each with a reason and a message.",
    },
    "DataSource": {
        "": "A name for the claim or snapshot that DataVolumes copy.",
    },
}
