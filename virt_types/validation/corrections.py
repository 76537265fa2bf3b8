"""What KubeVirt says wrongly, beside what is said here: the one table of texts and fields that were corrected.

Everything else is worded as KubeVirt words it, because scripts read it. Tests translate recorded answers by `corrected`
before they compare, and hold each row against what the rules really say; docs/manifests.md shows the table.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Correction(NamedTuple):
    """`theirs` is searched in a field or a message and replaced by `ours`, both as `re.sub` reads them.

    `example` is what KubeVirt answers, `spoken` whether that is a message (else a field).
    """

    theirs: str
    ours: str
    example: str
    spoken: bool = False

    @property
    def now(self) -> str:
        """What is said here instead of the example."""
        return re.sub(self.theirs, self.ours, self.example)


CORRECTIONS = (
    # Paths that name a step twice, or one that there isn't.
    Correction(
        r"devices\.disks\.domain\.devices\.disks\.disk\[(\d+)\]\.pciAddress",
        r"devices.disks[\1].disk.pciAddress",
        "spec.domain.devices.disks.domain.devices.disks.disk[0].pciAddress",
    ),
    Correction(
        r"devices\.disks\.domain\.devices\.disks\.disk\[(\d+)\]\.name",
        r"devices.disks[\1]",
        "disk spec.domain.devices.disks.domain.devices.disks.disk[0].name has malformed PCI address (x).",
        spoken=True,
    ),
    Correction(
        r"devices\.disks\.domain\.devices\.disks\[(\d+)\]",
        r"devices.disks[\1]",
        "spec.domain.devices.disks.domain.devices.disks[0].name",
    ),
    Correction(
        r"(\.(?:user|network)DataBase64)\.cloudInit\w+\.\w+ is not",
        r"\1 is not",
        "spec.volumes[0].cloudInitNoCloud.userDataBase64.cloudInitNoCloud.userDataBase64 is not a valid base64 value.",
        spoken=True,
    ),
    Correction(r"spec\.interfaces", "spec.domain.devices.interfaces", "spec.interfaces"),
    Correction(
        r"dataVolumeTemplate\[(\d+)\]\.source\.sourceRef",
        r"dataVolumeTemplates[\1].spec.sourceRef",
        "spec.dataVolumeTemplate[0].source.sourceRef",
    ),
    Correction(
        r"dataVolumeTemplate\[(\d+)\]\.PVC\.Storage",
        r"dataVolumeTemplates[\1].spec",
        "spec.dataVolumeTemplate[0].PVC.Storage",
    ),
    Correction(
        r"dataVolumeTemplate\[(\d+)\]\.source$",
        r"dataVolumeTemplates[\1].spec.source",
        "spec.dataVolumeTemplate[0].source",
    ),
    Correction(r"dataVolumeTemplate\[", "dataVolumeTemplates[", "spec.dataVolumeTemplate[0]"),
    Correction(
        r"\.containerDisk( must (?:be an absolute path|not point)|$)",
        r".containerDisk.path\1",
        "spec.volumes[0].containerDisk must not point to root",
        spoken=True,
    ),
    Correction(r"spec\.HostDevices", "spec.domain.devices.hostDevices", "spec.HostDevices"),
    Correction(r"spec\.Sound", "spec.domain.devices.sound", "spec.Sound"),
    Correction(r"spec\.launchSecurity", "spec.domain.launchSecurity", "spec.launchSecurity"),
    Correction(
        r"spec\.(node|pod|podAnti)Affinity",
        r"spec.affinity.\1Affinity",
        "spec.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
    ),
    Correction(
        r"(pod(?:Anti)?Affinity\.\S*)\.namespace\b",
        r"\1.namespaces",
        "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespace",
    ),
    Correction(
        r"topologySpreadConstraints\.labelSelector",
        "topologySpreadConstraints[0].labelSelector",
        "spec.topologySpreadConstraints.labelSelector.matchLabels",
    ),
    Correction(r"spec\.domain\.volumes", "spec.volumes", "spec.domain.volumes[0]"),
    Correction(r"spec\[(\d+)\]", r"spec.domain.devices.interfaces[\1]", "spec[0].bootOrder"),
    Correction(r"spec\.acpi", "spec.domain.firmware.acpi", "spec.acpi.slicNameRef"),
    Correction(r"spec\.GPUs", "spec.domain.devices.gpus", "spec.GPUs"),
    Correction(r"spec\.video\b", "spec.domain.devices.video", "spec.video"),
    Correction(r"^Status\.volumeRequests", "status.volumeRequests", "Status.volumeRequests"),
    Correction(r"spec\.migrationPriority", "spec.priority", "spec.migrationPriority"),
    # Words.
    Correction(r"\baleady\b", "already", "AddVolume request for [a] aleady exists", spoken=True),
    Correction(
        r"(DedicatedCPUPlacement is true|with ramfb is not valid) $",
        r"\1",
        "either spec.template.spec.domain.resources.requests.cpu or spec.template.spec.domain.resources.limits.cpu or "
        "spec.template.spec.domain.cpu.cores must be provided when DedicatedCPUPlacement is true ",
        spoken=True,
    ),
    Correction(
        r"strconv\.Atoi: parsing \"[^\"]*\": invalid syntax",
        "not a whole number",
        'maxUnavailable percentage value "x" is invalid: strconv.Atoi: parsing "x": invalid syntax',
        spoken=True,
    ),
    Correction(r"\binterger\b", "integer", "provided resources CPU limits must be an interger", spoken=True),
)


def corrected(text: str) -> str:
    """A field or message of KubeVirt's as it is here."""
    for correction in CORRECTIONS:
        text = re.sub(correction.theirs, correction.ours, text)
    return text
