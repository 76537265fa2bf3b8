"""Processors, memory, firmware, clock and hypervisor features."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "DomainSpec": {
        "": "The virtual hardware of a guest.",
        "ioThreadsPolicy": "shared, auto or supplementalPool: how disks share I/O threads.",
        "rebootPolicy": "Reboot (default: the guest reboots in place) or Terminate (a reboot ends the instance).",
        "resources": "What the guest asks of its node, and its limits.",
    },
    "CPUFeature": {
        "": "A CPU flag and whether the guest gets it.",
        "name": "The flag as libvirt spells it, such as vmx.",
        "policy": "force, require (default), optional, disable or forbid.",
    },
    "CPUTopology": {
        "": "Sockets, cores per socket, threads per core.",
        "cores": "Cores of each socket.",
        "sockets": "Sockets.",
        "threads": "Threads of each core.",
    },
    "NUMAGuestMappingPassthrough": {
        "": "Shows the guest the node's NUMA cells its CPUs are on.",
    },
    "NUMA": {
        "": "How the guest's memory follows the node's NUMA cells.",
    },
    "Realtime": {
        "": "Runs the virtual CPUs with a real-time scheduler.",
        "mask": "The virtual CPUs meant, as libvirt writes it: 0-3,^1; default is all.",
    },
    "CPU": {
        "": "The guest's processors. Their number is sockets x cores x threads; what is left out counts as 1.",
        "cores": "Cores of each socket; counts as 1 when left out.",
        "dedicatedCpuPlacement": "Pins each virtual CPU to a CPU of its own.",
        "features": "Flags that are added to the model or taken from it.",
        "isolateEmulatorThread": (
            "Gives QEMU itself one more CPU of its own; needs dedicatedCpuPlacement. Default false."
        ),
        "maxSockets": "How many sockets can be there after plugging in; default four times as many.",
        "model": "A model QEMU knows, host-model (default) or host-passthrough.",
        "sockets": "Sockets; counts as 1 when left out. Only these can be plugged into a running guest.",
        "threads": "Threads of each core; counts as 1 when left out.",
    },
    "Hugepages": {
        "": "Backs the memory by huge pages.",
        "pageSize": "2Mi or 1Gi; the guest's memory must be a multiple.",
    },
    "ReservedOverhead": {
        "": "Memory that is reserved beyond the guest's own.",
        "addedOverhead": "How much, such as 512Mi.",
        "memLock": "Required (all of it locked, for devices with DMA) or NotRequired (default).",
    },
    "Memory": {
        "": "The guest's memory.",
        "guest": "What the guest sees, such as 2Gi; default is resources.requests.memory.",
        "maxGuest": "How much can be there after plugging in; default four times as much.",
    },
    "MemoryStatus": {
        "": "The guest's memory at start, now, and as asked for.",
        "guestAtBoot": "What the guest started with.",
        "guestCurrent": "What the guest has now.",
        "guestRequested": "What was asked for by plugging in.",
        "memoryOverhead": "What QEMU and its launcher need beyond that.",
    },
    "ResourceRequirements": {
        "": "CPU and memory asked for (requests) and allowed (limits).",
        "limits": "The most the guest's launcher may take; keys cpu and memory.",
        "overcommitGuestOverhead": "Leaves QEMU's own memory out of what is asked of the node; default false.",
        "requests": "What is reserved on the node; keys cpu and memory.",
    },
    "ACPI": {
        "": "ACPI tables from volumes, for Windows licences.",
        "msdmNameRef": "The volume, a Secret, that holds the table MSDM (Windows 8 and later).",
        "slicNameRef": "The volume, a Secret, that holds the table SLIC (Windows 7 and before).",
    },
    "BIOS": {
        "": "Boots with BIOS.",
        "useSerial": "Writes BIOS messages to the serial line; default false.",
    },
    "EFI": {
        "": "Boots with UEFI.",
        "persistent": "Keeps the UEFI variables over restarts.",
        "secureBoot": "Boots signed code only; default true, and needs features.smm.",
    },
    "Bootloader": {
        "": "BIOS (default) or EFI.",
    },
    "KernelBootContainer": {
        "": "The image that holds kernel and initial RAM disk.",
        "image": "The image, such as registry/name:tag.",
        "imagePullPolicy": "Always (default for tag latest or none), IfNotPresent (default else) or Never.",
        "imagePullSecret": "A Secret with the credentials of the registry.",
        "initrdPath": "The initial RAM disk's absolute path in the image.",
        "kernelPath": "The kernel's absolute path in the image.",
    },
    "KernelBoot": {
        "": "Boots a kernel from a container image instead of from a disk.",
        "kernelArgs": "The kernel's command line; needs a container with a kernel.",
    },
    "Firmware": {
        "": "What runs before the guest, and the identity it shows.",
        "serial": "Shown to the guest; chosen once and kept.",
        "uuid": "Shown to the guest; chosen once and kept.",
    },
    "Machine": {
        "": "The machine type.",
        "type": "Such as q35 (default on amd64).",
    },
    "Chassis": {
        "": "SMBIOS chassis information.",
        "asset": "The asset tag.",
        "manufacturer": "Who made it.",
        "serial": "The serial number.",
        "sku": "The stock-keeping unit.",
        "version": "The version.",
    },
    "SEVAttestation": {
        "": "Waits for the owner's approval before the guest runs.",
    },
    "SEVPolicy": {
        "": "What SEV demands.",
        "encryptedState": "Demands SEV-ES, encrypted registers; default false.",
    },
    "SEV": {
        "": "AMD SEV.",
        "dhCert": "The owner's Diffie-Hellman key, in base64.",
        "session": "The owner's session blob, in base64.",
    },
    "SEVSNP": {
        "": "AMD SEV-SNP.",
    },
    "TDX": {
        "": "Intel TDX.",
    },
    "LaunchSecurity": {
        "": "Encrypts the guest's memory.",
    },
    "FeatureState": {
        "": "A feature that is on, unless enabled is false.",
    },
    "FeatureAPIC": {
        "": "The interrupt controller.",
        "endOfInterrupt": "Tells the guest that an interrupt has ended; default false.",
    },
    "FeatureKVM": {
        "": "What of KVM the guest sees.",
        "hidden": "Hides from the guest that it runs on KVM; default false.",
    },
    "FeatureSpinlocks": {
        "": "How often a spin lock is tried before the hypervisor is told.",
        "spinlocks": "How many tries; at least 4096, the default.",
    },
    "FeatureVendorID": {
        "": "The hypervisor's name as the guest sees it.",
        "vendorid": "At most twelve characters.",
    },
    "TLBFlush": {
        "": "TLB flushes by the hypervisor.",
    },
    "SyNICTimer": {
        "": "Synthetic timers.",
    },
    "FeatureHyperv": {
        "": "Interfaces of Hyper-V that make Windows faster.",
    },
    "HyperVPassthrough": {
        "": "Every Hyper-V interface the node has.",
    },
    "Features": {
        "": "Hypervisor features the guest gets.",
    },
    "HPETTimer": {
        "": "High precision event timer.",
        "tickPolicy": "What becomes of ticks that come late: delay, catchup, merge or discard.",
    },
    "HypervTimer": {
        "": "Hyper-V's reference time.",
    },
    "KVMTimer": {
        "": "KVM's paravirtual clock.",
    },
    "PITTimer": {
        "": "The old programmable interval timer.",
        "tickPolicy": "What becomes of ticks that come late: delay, catchup or discard.",
    },
    "RTCTimer": {
        "": "The real-time clock.",
        "tickPolicy": "What becomes of ticks that come late: delay or catchup.",
        "track": "What the clock follows: guest or wall.",
    },
    "Timer": {
        "": "Timers the guest has.",
    },
    "ClockOffsetUTC": {
        "": "Seconds the clock is ahead of UTC.",
        "offsetSeconds": "How many seconds ahead of UTC; the guest's own changes are kept over reboots.",
    },
    "ClockOffset": {
        "": "What the guest's clock is set to at start: UTC plus seconds, or a time zone.",
        "timezone": "The clock starts at local time of this zone, such as Europe/Berlin.",
        "utc": "The clock starts at UTC.",
    },
    "Clock": {
        "": "The guest's clock and its timers.",
        "timezone": "The clock starts at local time of this zone.",
        "utc": "The clock starts at UTC (default), with an offset if wanted.",
    },
}
