"""What is plugged into a guest: disks, interfaces, small devices."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "ClientPassthroughDevices": {
        "": "USB devices from the user's machine.",
    },
    "Diag288Watchdog": {
        "": "The watchdog of s390x.",
        "action": "reset (default), poweroff or shutdown.",
    },
    "I6300ESBWatchdog": {
        "": "The watchdog of amd64.",
        "action": "reset (default), poweroff or shutdown.",
    },
    "Watchdog": {
        "": "Acts when the guest no longer shows signs of life.",
    },
    "DownwardMetrics": {
        "": "Metrics of the node, readable in the guest.",
    },
    "VGPUDisplayOptions": {
        "": "The display of a virtual GPU.",
    },
    "VGPUOptions": {
        "": "Options of a virtual GPU.",
    },
    "GPU": {
        "": "A graphics processor of the node.",
        "claimName": "A resource claim of spec.resourceClaims, instead of deviceName.",
        "deviceName": "The resource a device plug-in offers, such as nvidia.com/GP102GL.",
        "requestName": "The request within the resource claim.",
        "tag": "Told to the guest with the device's address, by cloud-init's config drive.",
    },
    "HostDevice": {
        "": "A device of the node.",
        "claimName": "A resource claim of spec.resourceClaims, instead of deviceName.",
        "deviceName": "The resource a device plug-in offers.",
        "requestName": "The request within the resource claim.",
        "tag": "Told to the guest with the device's address, by cloud-init's config drive.",
    },
    "Input": {
        "": "A pointer device.",
        "bus": "usb (default) or virtio.",
        "type": "tablet.",
    },
    "PanicDevice": {
        "": "Tells the host when the guest's kernel panics.",
        "model": "hyperv, isa or pvpanic; default depends on the machine.",
    },
    "Rng": {
        "": "A source of randomness.",
    },
    "SoundDevice": {
        "": "A sound card.",
        "model": "ich9 (default) or ac97.",
    },
    "TPMDevice": {
        "": "A trusted platform module.",
        "enabled": "false takes away what a preference gave; default true.",
        "persistent": "Keeps what it holds over restarts; default false.",
    },
    "VideoDevice": {
        "": "The graphics card.",
        "type": "vga, cirrus, virtio, ramfb or bochs; default vga, with UEFI bochs.",
    },
    "Devices": {
        "": "Everything plugged into the guest.",
        "autoattachGraphicsDevice": "Gives the guest a screen for VNC; default true.",
        "autoattachInputDevice": "Gives a guest without inputs a USB tablet; default false.",
        "autoattachMemBalloon": "Lets the node see how much memory the guest uses; default true.",
        "autoattachPodInterface": "Gives a guest without networks the default one; default true.",
        "autoattachSerialConsole": "Gives the guest a serial console; default true.",
        "autoattachVSOCK": "Gives the guest a socket to the node; default false.",
        "blockMultiQueue": "Gives virtio disks a queue per virtual CPU; default false.",
        "disableHotplug": "Leaves out what plugging in disks needs; default false.",
        "disks": "Disks; each has the name of its volume.",
        "filesystems": "Directories shared with the guest; each has the name of its volume.",
        "gpus": "Graphics processors of the node that are given to the guest.",
        "hostDevices": "Devices of the node that are given to the guest.",
        "inputs": "Pointing devices.",
        "interfaces": "Network interfaces; each has the name of its network.",
        "logSerialConsole": "Keeps a record of what the guest writes to its serial line; default true.",
        "networkInterfaceMultiqueue": "Gives virtio interfaces a queue per virtual CPU; default false.",
        "panicDevices": "Devices by which the guest's kernel tells of its panic.",
        "useVirtioTransitional": "Lets drivers before virtio 1.0 (CentOS 6) drive virtio devices; default false.",
    },
    "CustomBlockSize": {
        "": "Block sizes in bytes, powers of two from 512 on.",
        "discardGranularity": "The least the guest may give back, in bytes; a multiple of logical.",
        "logical": "The unit the guest addresses by, in bytes: 512 to 2 MiB.",
        "physical": "The unit that is written at once, in bytes; at least logical.",
    },
    "BlockSize": {
        "": "The block size the guest sees.",
        "matchVolume": "Takes the sizes of the device below.",
    },
    "DiskTarget": {
        "": "A plain disk.",
        "bus": "virtio, sata (default), scsi or usb.",
        "pciAddress": "Where the guest finds it, such as 0000:81:01.0; with bus virtio only.",
        "readonly": "Default false.",
    },
    "LunTarget": {
        "": "A block device with SCSI commands passed through.",
        "bus": "scsi, virtio or sata (default).",
        "readonly": "Default false.",
        "reservation": "Lets the guest make persistent SCSI reservations; default false.",
    },
    "CDRomTarget": {
        "": "A CD-ROM drive.",
        "bus": "sata (default), scsi or usb.",
        "readonly": "Default true.",
        "tray": "open or closed (default).",
    },
    "DiskIOThreads": {
        "": "The pool of I/O threads.",
        "supplementalPoolThreadCount": "How many threads the pool has; for ioThreadsPolicy supplementalPool.",
    },
    "Disk": {
        "": "How a volume appears in the guest: as disk, cdrom or lun.",
        "name": "The volume it shows, by its name.",
        "bootOrder": "1 is tried first; counted together with the interfaces.",
        "cache": "none, writethrough or writeback.",
        "changedBlockTracking": "Whether changed blocks are tracked for backups; default false.",
        "dedicatedIOThread": "Gives the disk an I/O thread of its own.",
        "errorPolicy": "What an I/O error does: stop (default: pauses the guest), ignore, report or enospace.",
        "io": "native, threads or default: how QEMU reads and writes.",
        "serial": "Shown to the guest.",
        "shareable": "Lets several guests write to it at once; default false.",
        "tag": "Told to the guest with the disk's address, by cloud-init's config drive.",
    },
    "FilesystemVirtiofs": {
        "": "Shares by virtiofs.",
    },
    "Filesystem": {
        "": "A directory shared with the guest.",
        "name": "The volume it shows, by its name.",
    },
    "ClaimRequest": {
        "": "One request of a resource claim.",
        "claimName": "A resource claim of spec.resourceClaims.",
        "requestName": "The request within the resource claim.",
    },
    "Port": {
        "": "A port and its protocol (TCP when left out).",
        "name": "What Services can call it by; unique within the guest.",
        "port": "1 to 65535.",
        "protocol": "TCP (default) or UDP.",
    },
    "PortRange": {
        "": "A range of ports.",
        "end": "The last port; not before start.",
        "protocol": "TCP or UDP.",
        "start": "The first port, 1 to 65535.",
    },
    "DHCPPrivateOptions": {
        "": "A DHCP option from 224 to 254.",
        "option": "A number from 224 to 254.",
        "value": "The option's value.",
    },
    "DHCPOptions": {
        "": "What DHCP tells the guest.",
        "bootFileName": "Option 67: the file to boot from the network.",
        "ntpServers": "Option 42: IPv4 addresses of time servers.",
        "privateOptions": "Options 224 to 254.",
        "tftpServerName": "Option 66: the server that has that file.",
    },
    "PluginBinding": {
        "": "The guest is connected by a plug-in.",
        "name": "The plug-in, as the cluster's configuration names it.",
    },
    "InterfaceBridge": {
        "": "The guest takes over the address of the network.",
    },
    "InterfaceMasquerade": {
        "": "The guest is behind address translation.",
    },
    "InterfacePasstBinding": {
        "": "The guest is connected by passt, in user mode.",
    },
    "InterfaceSRIOV": {
        "": "The guest gets a virtual function of a network card.",
    },
    "DeprecatedInterfaceMacvtap": {
        "": "Discontinued.",
    },
    "DeprecatedInterfacePasst": {
        "": "Discontinued.",
    },
    "DeprecatedInterfaceSlirp": {
        "": "Discontinued.",
    },
    "Interface": {
        "": "A network interface and how it is connected to its network.",
        "name": "The network it is plugged into, by its name.",
        "acpiIndex": "Names the interface in the guest (eno1 for 1), wherever its PCI address is.",
        "bootOrder": "1 is tried first; counted together with the disks.",
        "macAddress": "Chosen when the machine is created, and kept.",
        "model": "virtio (default), e1000, e1000e, igb, ne2k_pci, pcnet or rtl8139.",
        "pciAddress": "Where the guest finds it, such as 0000:81:01.0.",
        "portRanges": "Ranges of ports let through to a masqueraded guest.",
        "ports": "Ports let through to a masqueraded guest; all when left out.",
        "state": "up, down or absent (unplugged).",
        "tag": "Told to the guest with the interface's address, by cloud-init's config drive.",
    },
    "MultusNetwork": {
        "": "A network from a NetworkAttachmentDefinition.",
        "default": "Takes the place of the default network; default false.",
        "networkName": "The NetworkAttachmentDefinition: NAME, or NAMESPACE/NAME.",
    },
    "PodNetwork": {
        "": "The default network.",
        "vmIPv6NetworkCIDR": "The guest's IPv6 range behind masquerade; default fd10:0:2::/120.",
        "vmNetworkCIDR": "The guest's range behind masquerade, such as 10.0.2.0/24.",
    },
    "VirtualMachineInstanceResourceClaim": {
        "": "A claim of dynamic resource allocation.",
        "name": "Unique within the guest; GPUs and host devices refer to it.",
        "resourceClaimName": "A ResourceClaim that exists; this or the template.",
        "resourceClaimTemplateName": "A template that a claim is made from for each start.",
    },
    "Network": {
        "": "What an interface is plugged into.",
        "name": "Unique within the guest; its interface has the same name.",
    },
}
