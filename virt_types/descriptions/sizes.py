"""Instancetypes and preferences."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "CPUInstancetype": {
        "": "The processors of a size.",
        "dedicatedCPUPlacement": "Pins each virtual CPU to a CPU of its own; default false.",
        "guest": "How many virtual CPUs.",
        "isolateEmulatorThread": "Gives QEMU itself one more CPU of its own; default false.",
        "maxSockets": "How many sockets can be there after plugging in.",
        "model": "A model QEMU knows, host-model (default) or host-passthrough.",
    },
    "MemoryInstancetype": {
        "": "The memory of a size.",
        "guest": "What the guest sees.",
        "maxGuest": "How much can be there after plugging in.",
        "overcommitPercent": "How much less than that is asked of the node, in per cent.",
    },
    "VirtualMachineInstancetypeSpec": {
        "": "What every machine of this size gets; its own manifest must not say otherwise.",
        "annotations": "Annotations that every machine's instance gets.",
        "ioThreadsPolicy": "shared, auto or supplementalPool: how disks share I/O threads.",
        "nodeSelector": "Labels a node must have.",
        "schedulerName": "Who chooses the node; default is the cluster's scheduler.",
        "gpus": "Graphics processors that every machine gets.",
        "hostDevices": "Devices of the node that every machine gets.",
    },
    "VirtualMachineInstancetype": {
        "": "A size for machines of one namespace.",
    },
    "VirtualMachineClusterInstancetype": {
        "": "A size for machines of every namespace.",
    },
    "SpreadOptions": {
        "": "How virtual CPUs are spread over sockets, cores and threads.",
        "across": (
            "SocketsCores (default), SocketsCoresThreads or CoresThreads: which of them the CPUs are spread over."
        ),
        "ratio": "How many cores (or threads) for each socket (or core); default 2.",
    },
    "CPUPreferences": {
        "": "How virtual CPUs are shown to the guest.",
        "preferredCPUTopology": "sockets, cores, threads, spread or any.",
        "preferredCPUFeatures": "Flags the CPU gets beside those of its model.",
    },
    "ClockPreferences": {
        "": "The clock that is preferred.",
    },
    "DevicePreferences": {
        "": "The devices that are preferred.",
        "preferredAutoattachGraphicsDevice": "Whether guests get a screen, where the machine does not say.",
        "preferredAutoattachInputDevice": "Whether guests get a tablet, where the machine does not say.",
        "preferredAutoattachMemBalloon": "Whether guests get a memory balloon, where the machine does not say.",
        "preferredAutoattachPodInterface": "Whether guests get the default network, where the machine does not say.",
        "preferredAutoattachSerialConsole": "Whether guests get a serial console, where the machine does not say.",
        "preferredBlockMultiQueue": "Whether virtio disks have a queue per virtual CPU.",
        "preferredCdromBus": "The bus of CD-ROM drives that name none: sata, scsi or usb.",
        "preferredDisableHotplug": "Whether disks can't be plugged in.",
        "preferredDiskBus": "The bus of disks that name none: virtio, sata, scsi or usb.",
        "preferredDiskCache": "The cache of disks that name none: none, writethrough or writeback.",
        "preferredDiskDedicatedIoThread": "Whether virtio disks have I/O threads of their own.",
        "preferredDiskIO": "The I/O mode of disks that name none: native, threads or default.",
        "preferredInputBus": "The bus of input devices that name none: usb or virtio.",
        "preferredInputType": "The type of input devices that name none: tablet.",
        "preferredInterfaceModel": "The model of interfaces that name none, such as virtio or e1000e.",
        "preferredLunBus": "The bus of LUNs that name none: scsi, virtio or sata.",
        "preferredNetworkInterfaceMultiQueue": "Whether virtio interfaces have a queue per virtual CPU.",
        "preferredPanicDeviceModel": "The model of panic devices that name none: hyperv, isa or pvpanic.",
        "preferredSoundModel": "The model of sound cards that name none: ich9 or ac97.",
        "preferredUseVirtioTransitional": "Whether virtio devices can also be driven by the drivers before virtio 1.0.",
        "preferredVideoType": "The graphics card of machines that name none, such as vga or virtio.",
    },
    "FeaturePreferences": {
        "": "The hypervisor features that are preferred.",
    },
    "FirmwarePreferences": {
        "": "The firmware that is preferred.",
        "preferredUseBios": "Prefers BIOS.",
        "preferredUseBiosSerial": "Prefers a BIOS that writes to the serial line; needs preferredUseBios.",
        "preferredUseEfi": "Deprecated: prefers UEFI; use preferredEfi.",
        "preferredUseSecureBoot": "Deprecated: prefers Secure Boot; use preferredEfi.",
    },
    "MachinePreferences": {
        "": "The machine type that is preferred.",
        "preferredMachineType": "The machine type where the machine does not say, such as pc-q35-7.2.",
    },
    "VolumePreferences": {
        "": "The storage that is preferred.",
        "preferredStorageClassName": "The storage class of dataVolumeTemplates that name none.",
    },
    "CPUPreferenceRequirement": {
        "": "The least number of virtual CPUs.",
        "guest": "How many virtual CPUs a machine must have at least.",
    },
    "MemoryPreferenceRequirement": {
        "": "The least memory.",
        "guest": "How much memory a machine must have at least, such as 2Gi.",
    },
    "PreferenceRequirements": {
        "": "The least a machine must have to use the preference.",
        "architecture": "The architecture a machine must have, such as amd64.",
    },
    "VirtualMachinePreferenceSpec": {
        "": "What a machine gets where its own manifest says nothing.",
        "annotations": "Annotations that the instance gets where it has none of that name.",
        "preferSpreadSocketToCoreRatio": (
            "Deprecated: cores for each socket when CPUs are spread; default 2. Use spreadOptions."
        ),
        "preferredArchitecture": "The architecture where the machine does not say, such as amd64.",
        "preferredSubdomain": "The subdomain where the machine does not say.",
        "preferredTerminationGracePeriodSeconds": "Seconds to shut down where the machine does not say.",
    },
    "VirtualMachinePreference": {
        "": "Soft defaults for machines of one namespace.",
    },
    "VirtualMachineClusterPreference": {
        "": "Soft defaults for machines of every namespace.",
    },
}
