"""Write the Structs of `virt_types` from the field names and types of an OpenAPI (swagger) document.

    python tools/generate_types.py ../shared/data/kubevirt-swagger.json          rewrite the modules
    python tools/generate_types.py ../shared/data/kubevirt-swagger.json --check  exit 1 if a module would change

Only names and types come from the document; what a type or field means is told in our words in
`virt_types/descriptions/`. Where each definition lives is the table MODULES below. The output is deterministic.
"""

from __future__ import annotations

import argparse
import json
import keyword
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from virt_types import descriptions  # noqa: E402 - the path comes first: tools/ is no package

CORE = "k8s.io.api.core.v1."
META = "k8s.io.apimachinery.pkg.apis.meta.v1."

# Module -> (why it exists, its definitions). A name without prefix is one of KubeVirt's own (`v1.`).
MODULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "virt_types/k8s/scheduling.py": (
        "Where a pod may run: affinity, tolerations, topology spread.",
        tuple(
            CORE + name
            for name in (
                "NodeSelectorRequirement", "NodeSelectorTerm", "NodeSelector", "PreferredSchedulingTerm",
                "NodeAffinity", "PodAffinityTerm", "WeightedPodAffinityTerm", "PodAffinity", "PodAntiAffinity",
                "Affinity", "Toleration", "TopologySpreadConstraint",
            )
        ),
    ),
    "virt_types/k8s/pods.py": (
        "Parts of the core API's pods and claims that VirtualMachines borrow.",
        tuple(
            CORE + name
            for name in (
                "LocalObjectReference", "TypedLocalObjectReference", "TypedObjectReference", "ExecAction",
                "HTTPHeader", "HTTPGetAction", "TCPSocketAction", "PodDNSConfigOption", "PodDNSConfig",
                "ObjectFieldSelector", "ResourceFieldSelector", "DownwardAPIVolumeFile",
                "VolumeResourceRequirements", "PersistentVolumeClaimSpec", "PersistentVolumeClaimVolumeSource",
            )
        ),
    ),
    "virt_types/cdi/v1beta1.py": (
        "What a DataVolume is made of (CDI), as far as a VirtualMachine's dataVolumeTemplates reach it.",
        tuple(
            "v1beta1." + name
            for name in (
                "PlatformOptions", "DataVolumeBlankImage", "DataVolumeSourceGCS", "DataVolumeSourceHTTP",
                "DataVolumeSourceImageIO", "DataVolumeSourcePVC", "DataVolumeSourceRegistry",
                "DataVolumeSourceS3", "DataVolumeSourceSnapshot", "DataVolumeSourceUpload",
                "DataVolumeSourceVDDK", "DataVolumeSource", "DataVolumeSourceRef", "DataVolumeCheckpoint",
                "StorageSpec", "DataVolumeSpec",
            )
        ),
    ),
    "virt_types/v1/cpu.py": (
        "The guest's processors: topology, model, pinning, NUMA.",
        ("CPUFeature", "CPUTopology", "NUMAGuestMappingPassthrough", "NUMA", "Realtime", "CPU"),
    ),
    "virt_types/v1/memory.py": (
        "The guest's memory and the resources its launcher asks for.",
        ("Hugepages", "ReservedOverhead", "Memory", "MemoryStatus", "ResourceRequirements"),
    ),
    "virt_types/v1/firmware.py": (
        "What the machine is before the guest starts: machine type, BIOS or EFI, kernel boot, SMBIOS, launch security.",
        (
            "ACPI", "BIOS", "EFI", "Bootloader", "KernelBootContainer", "KernelBoot", "Firmware", "Machine",
            "Chassis", "SEVAttestation", "SEVPolicy", "SEV", "SEVSNP", "TDX", "LaunchSecurity",
        ),
    ),
    "virt_types/v1/features.py": (
        "Hypervisor features and clock timers offered to the guest.",
        (
            "FeatureState", "FeatureAPIC", "FeatureKVM", "FeatureSpinlocks", "FeatureVendorID", "TLBFlush",
            "SyNICTimer", "FeatureHyperv", "HyperVPassthrough", "Features", "HPETTimer", "HypervTimer",
            "KVMTimer", "PITTimer", "RTCTimer", "Timer", "ClockOffsetUTC", "ClockOffset", "Clock",
        ),
    ),
    "virt_types/v1/disks.py": (
        "How volumes appear in the guest: disks, CD-ROMs, LUNs and shared file systems.",
        (
            "CustomBlockSize", "BlockSize", "DiskTarget", "LunTarget", "CDRomTarget", "DiskIOThreads", "Disk",
            "FilesystemVirtiofs", "Filesystem",
        ),
    ),
    "virt_types/v1/volumes.py": (
        "Where a disk's bytes come from.",
        (
            "CloudInitNoCloudSource", "CloudInitConfigDriveSource", "ConfigMapVolumeSource",
            "ContainerDiskSource", "ContainerPathVolumeSource", "DataVolumeSource", "DownwardAPIVolumeSource",
            "DownwardMetricsVolumeSource", "EmptyDiskSource", "EphemeralVolumeSource", "HostDisk",
            "MemoryDumpVolumeSource", "PersistentVolumeClaimVolumeSource", "SecretVolumeSource",
            "ServiceAccountVolumeSource", "SysprepSource", "Volume", "UtilityVolume", "HotplugVolumeSource",
            "AddVolumeOptions", "RemoveVolumeOptions",
        ),
    ),
    "virt_types/v1/network.py": (
        "The guest's interfaces and the networks they are plugged into.",
        (
            "ClaimRequest", "Port", "PortRange", "DHCPPrivateOptions", "DHCPOptions", "PluginBinding",
            "InterfaceBridge",
            "InterfaceMasquerade", "InterfacePasstBinding", "InterfaceSRIOV", "DeprecatedInterfaceMacvtap",
            "DeprecatedInterfacePasst", "DeprecatedInterfaceSlirp", "Interface", "MultusNetwork", "PodNetwork",
            "VirtualMachineInstanceResourceClaim", "Network",
        ),
    ),
    "virt_types/v1/devices.py": (
        "Everything plugged into the guest.",
        (
            "ClientPassthroughDevices", "Diag288Watchdog", "I6300ESBWatchdog", "Watchdog",
            "DownwardMetrics", "VGPUDisplayOptions", "VGPUOptions", "GPU", "HostDevice", "Input",
            "PanicDevice", "Rng", "SoundDevice", "TPMDevice", "VideoDevice", "Devices",
        ),
    ),
    "virt_types/v1/domain.py": ("The guest as a whole.", ("DomainSpec",)),
    "virt_types/v1/credentials.py": (
        "SSH keys and passwords handed to the guest.",
        (
            "AccessCredentialSecretSource", "ConfigDriveSSHPublicKeyAccessCredentialPropagation",
            "NoCloudSSHPublicKeyAccessCredentialPropagation",
            "QemuGuestAgentSSHPublicKeyAccessCredentialPropagation",
            "QemuGuestAgentUserPasswordAccessCredentialPropagation",
            "SSHPublicKeyAccessCredentialPropagationMethod", "SSHPublicKeyAccessCredentialSource",
            "SSHPublicKeyAccessCredential", "UserPasswordAccessCredentialPropagationMethod",
            "UserPasswordAccessCredentialSource", "UserPasswordAccessCredential", "AccessCredential",
        ),
    ),
    "virt_types/v1/probes.py": (
        "How the guest's health is asked for.", ("GuestAgentPing", "Probe"),
    ),
    "virt_types/v1/migration.py": (
        "State of a live migration as the VirtualMachineInstance shows it.",
        (
            "DowntimeTuningOptions", "StallDetectorOptions", "ExperimentalMigrationOptions",
            "VMIMConfigurationOptions", "PersistentVolumeClaimInfo", "StorageMigratedVolumeInfo",
            "VirtualMachineInstanceMigrationSourceState", "VirtualMachineInstanceMigrationTargetState",
            "VirtualMachineInstanceMigrationState",
        ),
    ),
    "virt_types/v1/status.py": (
        "What is observed about a running guest.",
        (
            "VirtualMachineInstanceCondition", "VirtualMachineInstanceGuestOSInfo",
            "VirtualMachineInstanceNetworkInterface", "VirtualMachineInstancePhaseTransitionTimestamp",
            "InitrdInfo", "KernelInfo", "KernelBootStatus", "TopologyHints",
            "VirtualMachineInstanceBackupVolumeInfo", "VirtualMachineInstanceBackupStatus",
            "ChangedBlockTrackingStatus", "ContainerDiskInfo", "DomainMemoryDumpInfo", "HotplugVolumeStatus",
            "VolumeStatus", "VirtualMachineInstanceStatus",
        ),
    ),
    "virt_types/v1/instance.py": (
        "VirtualMachineInstance: one running, or once running, guest.",
        ("VirtualMachineInstanceSpec", "VirtualMachineInstanceTemplateSpec", "VirtualMachineInstance"),
    ),
    "virt_types/v1/machine.py": (
        "VirtualMachine: the long-lived definition that owns one VirtualMachineInstance.",
        (
            "DataVolumeTemplateDummyStatus", "DataVolumeTemplateSpec", "InstancetypeMatcher",
            "PreferenceMatcher", "ControllerRevisionRef", "InstancetypeStatusRef", "VirtualMachineCondition",
            "VirtualMachineMemoryDumpRequest", "VirtualMachineStartFailure",
            "VirtualMachineStateChangeRequest", "VirtualMachineVolumeRequest", "VolumeMigrationState",
            "VolumeSnapshotStatus", "VolumeUpdateState", "VirtualMachineSpec", "VirtualMachineStatus",
            "VirtualMachine",
        ),
    ),
    "virt_types/v1/replicaset.py": (
        "VirtualMachineInstanceReplicaSet: a number of interchangeable guests.",
        (
            "VirtualMachineInstanceReplicaSetCondition", "VirtualMachineInstanceReplicaSetSpec",
            "VirtualMachineInstanceReplicaSetStatus", "VirtualMachineInstanceReplicaSet",
        ),
    ),
    "virt_types/v1/preset.py": (
        "VirtualMachineInstancePreset: what matching instances get where they say nothing. Deprecated.",
        ("VirtualMachineInstancePresetSpec", "VirtualMachineInstancePreset"),
    ),
    "virt_types/v1/migrationjob.py": (
        "VirtualMachineInstanceMigration: the wish to move one guest to another node, and what became of it.",
        (
            "VirtualMachineInstanceMigrationCondition", "VirtualMachineInstanceMigrationPhaseTransitionTimestamp",
            "VirtualMachineInstanceMigrationSource", "VirtualMachineInstanceMigrationTarget",
            "VirtualMachineInstanceMigrationSpec", "VirtualMachineInstanceMigrationStatus",
            "VirtualMachineInstanceMigration",
        ),
    ),
    "virt_types/pool/v1beta1.py": (
        "VirtualMachinePool: a number of numbered machines (group pool.kubevirt.io).",
        tuple(
            "v1beta1." + name
            for name in (
                "VirtualMachineTemplateSpec", "VirtualMachinePoolAutohealingStrategy", "VirtualMachinePoolCondition",
                "VirtualMachinePoolNameGeneration", "VirtualMachinePoolSelectors", "VirtualMachinePoolSelectionPolicy",
                "VirtualMachinePoolOpportunisticScaleInStrategy", "VirtualMachinePoolProactiveScaleInStrategy",
                "VirtualMachinePoolUnmanagedStrategy", "VirtualMachinePoolScaleInStrategy",
                "VirtualMachineOpportunisticUpdateStrategy", "VirtualMachinePoolProactiveUpdateStrategy",
                "VirtualMachinePoolUpdateStrategy", "VirtualMachinePoolSpec", "VirtualMachinePoolStatus",
                "VirtualMachinePool",
            )
        ),
    ),
    "virt_types/instancetype/v1beta1.py": (
        "Instancetypes size a machine, preferences fill what it leaves open (group instancetype.kubevirt.io).",
        tuple(
            "v1beta1." + name
            for name in (
                "CPUInstancetype", "MemoryInstancetype", "VirtualMachineInstancetypeSpec",
                "VirtualMachineInstancetype", "VirtualMachineClusterInstancetype", "SpreadOptions", "CPUPreferences",
                "ClockPreferences", "DevicePreferences", "FeaturePreferences", "FirmwarePreferences",
                "MachinePreferences", "VolumePreferences", "CPUPreferenceRequirement", "MemoryPreferenceRequirement",
                "PreferenceRequirements", "VirtualMachinePreferenceSpec", "VirtualMachinePreference",
                "VirtualMachineClusterPreference",
            )
        ),
    ),
}  # fmt: skip

# Definitions that are written by hand in virt_types/meta.py.
BY_HAND = {
    META + name: name
    for name in (
        "ObjectMeta", "OwnerReference", "ManagedFieldsEntry", "LabelSelector", "LabelSelectorRequirement",
    )
}  # fmt: skip
SCALARS = {
    "k8s.io.apimachinery.pkg.api.resource.Quantity": "Quantity",
    META + "Time": "Time",
    META + "FieldsV1": "dict[str, Any]",
    META + "Duration": "str",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": "IntOrString",
}
# Two definitions of one name can't share a module; the borrowed one gets the longer Python name.
CLASS_NAMES = {CORE + "PersistentVolumeClaimVolumeSource": "ClaimVolumeSource"}
ATTRIBUTES = {
    "VSOCKCID": "vsock_cid",
    "autoattachVSOCK": "autoattach_vsock",
    "lastFailedVMIUID": "last_failed_vmi_uid",
    "matchSELinuxLevelOnMigration": "match_selinux_level_on_migration",
    "vmIPv6NetworkCIDR": "vm_ipv6_network_cidr",
}
# Optional in the document, yet so much at the centre that a None there would only be in the way.
ALWAYS_PRESENT = {("v1.VirtualMachineInstanceTemplateSpec", "spec")}
EMPTY_SCALARS = {"str": "str", "bool": "bool", "Int32": "int", "Int64": "int"}
# Required value structs that have required fields of their own: there is no empty one to default to.
INCOMPLETE_WHEN_EMPTY = {"MemoryInstancetype", "VirtualMachineInstancetypeSpec"}
TIMES = {"lastProbeTime", "lastTransitionTime", "creationTimestamp"}
FIRST = ("apiVersion", "kind", "metadata", "name", "spec", "status")


class FieldSource(NamedTuple):
    """One line of a class body and the names it needs imported."""

    line: str
    uses: frozenset[str]


def full_name(name: str) -> str:
    return name if "." in name else f"v1.{name}"


def class_name(definition: str) -> str:
    return CLASS_NAMES.get(definition) or BY_HAND.get(definition) or definition.rsplit(".", 1)[-1]


def attribute(wire: str) -> str:
    """snake_case of a JSON name; runs of capitals are one word."""
    if wire in ATTRIBUTES:
        return ATTRIBUTES[wire]
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", wire)
    words = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", words).lower()
    return words + "_" if keyword.iskeyword(words) else words


def camel(name: str) -> str:
    """What msgspec's rename="camel" makes of an attribute."""
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def scalar_type(schema: dict[str, Any], wire: str) -> tuple[str, frozenset[str]]:
    kind = schema.get("type")
    if kind == ["string", "number"]:
        name = "IntOrString"
    elif wire in TIMES or kind == ["string", "null"]:
        name = "Time"
    elif kind == "integer":
        name = {"int32": "Int32", "int64": "Int64"}[schema["format"]]
    else:
        return {"string": "str", "boolean": "bool"}[str(kind)], frozenset()
    return name, frozenset({name})


def python_type(schema: dict[str, Any], wire: str = "") -> tuple[str, frozenset[str]]:
    """The annotation of a property, without None, and the names it uses."""
    if "$ref" in schema:
        target = schema["$ref"].rsplit("/", 1)[-1]
        name = SCALARS.get(target) or class_name(target)
        return name, frozenset({"Any"} if "Any" in name else {name} - {"str"})
    if schema.get("type") == "array":
        inner, uses = python_type(schema["items"])
        return f"list[{inner}]", uses
    if schema.get("type") == "object":
        inner, uses = python_type(schema["additionalProperties"])
        return f"dict[str, {inner}]", uses
    return scalar_type(schema, wire)


def is_struct(schema: dict[str, Any]) -> bool:
    return "$ref" in schema and schema["$ref"].rsplit("/", 1)[-1] not in SCALARS


def field_source(definition: str, wire: str, schema: dict[str, Any], required: bool) -> FieldSource:
    """`attr: type = default`. Lists, maps, value structs and required scalars default to empty, the rest to None."""
    kind, uses = python_type(schema, wire)
    attr = attribute(wire)
    options: list[str] = []
    always = required or "default" in schema or (definition, wire) in ALWAYS_PRESENT
    if is_struct(schema) and always and kind not in INCOMPLETE_WHEN_EMPTY:
        options.append(f"default_factory={kind}")
    elif kind.startswith(("list[", "dict[")) and not required:
        options.append(f"default_factory={kind.split('[')[0]}")
    elif not required:
        kind = f"{kind} | None"
        options.append("default=None")
    elif kind in EMPTY_SCALARS:  # from a factory, because then it is encoded even when empty
        options.append(f"default_factory={EMPTY_SCALARS[kind]}")
    if camel(attr) != wire:
        options.append(f"name={json.dumps(wire)}")
    line = f"    {attr}: {kind}"
    if options == ["default=None"]:
        return FieldSource(f"{line} = None", uses)
    if options:
        return FieldSource(f"{line} = field({', '.join(options)})", uses | {"field"})
    return FieldSource(line, uses)


def wire_order(wire: str) -> tuple[int, str]:
    return (FIRST.index(wire) if wire in FIRST else len(FIRST), wire)


def field_docstring(owner: str, wire: str, schema: dict[str, Any]) -> str:
    """What a field means; nothing for one that its type explains or whose name says it."""
    shared = "" if is_struct(schema) else descriptions.EVERYWHERE.get(wire, "")
    return descriptions.of_field([owner], wire) or shared


def class_source(definition: str, schema: dict[str, Any]) -> tuple[list[str], set[str]]:
    """Source of one Struct and the names it uses."""
    name = class_name(definition)
    docstring = descriptions.of_type(name)
    lines = ["", "", f"class {name}(Base, kw_only=True):"]
    uses = {"Base"}
    required = set(schema.get("required", ()))
    fields = sorted(schema.get("properties", {}), key=wire_order)
    if docstring:
        lines.append(f'    """{docstring}"""')
        lines += [""] if fields else []
    for wire in fields:
        source = field_source(definition, wire, schema["properties"][wire], wire in required)
        lines.append(source.line)
        about = field_docstring(name, wire, schema["properties"][wire])
        lines += [f'    """{about}"""'] if about else []
        uses |= source.uses
    if not fields and not docstring:
        lines.append('    """An empty object: being there is what it says."""')
    return lines, uses


def module_path(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def import_lines(uses: set[str], own: set[str], home: dict[str, str]) -> list[str]:
    by_module: dict[str, list[str]] = {}
    for name in sorted(uses - own):
        by_module.setdefault(home[name], []).append(name)
    standard = [module for module in by_module if module == "typing"]
    third = [module for module in by_module if module == "msgspec"]
    ours = sorted(module for module in by_module if module.startswith("virt_types"))
    lines = []
    for group in (standard, third, ours):
        lines += [f"from {module} import {', '.join(by_module[module])}" for module in group]
        lines += [""] if group else []
    return lines


def module_source(file: str, definitions: dict[str, Any], home: dict[str, str]) -> str:
    why, names = MODULES[file]
    uses: set[str] = set()
    body: list[str] = []
    for name in names:
        definition = full_name(name)
        lines, used = class_source(definition, definitions[definition])
        body += lines
        uses |= used
    own = {class_name(full_name(name)) for name in names}
    head = [
        f'"""{why}',
        "",
        "Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        *import_lines(uses, own, home),
    ]
    return "\n".join([*head[:-1], *body, ""])


def package_source(why: str, files: list[str]) -> str:
    """`__init__.py` that exports every class of the package's modules."""
    lines = [f'"""{why}"""', "", "from __future__ import annotations", ""]
    exported: list[str] = []
    for file in sorted(files):
        names = sorted(class_name(full_name(name)) for name in MODULES[file][1])
        exported += names
        lines.append(f"from {module_path(file)} import {', '.join(names)}")
    lines += ["", f"__all__ = {json.dumps(sorted(exported))}", ""]
    return "\n".join(lines)


def ruff(source: str, file: str) -> str:
    """Sorted imports and the project's format."""
    ours = "lint.isort.known-first-party=['virt_types']"
    for arguments in (["check", "--select=I,RUF022", "--fix", "--quiet", "--config", ours], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(ROOT / file), "-"]
        source = subprocess.run(command, input=source, text=True, capture_output=True, check=True).stdout
    return source


def generate(swagger: dict[str, Any]) -> dict[str, str]:
    """File -> source of every generated module."""
    home = {"Any": "typing", "field": "msgspec", "Base": "virt_types.meta"}
    home |= dict.fromkeys(("Int32", "Int64", "IntOrString", "Quantity", "Time", *BY_HAND.values()), "virt_types.meta")
    for file, (_, names) in MODULES.items():
        if "/cdi/" not in file:  # CDI has its own DataVolumeSource
            home |= {class_name(full_name(name)): module_path(file) for name in names}
    definitions = swagger["definitions"]
    files = {}
    for file in MODULES:
        local = dict(home)
        if "/cdi/" not in file:
            local["DataVolumeSpec"] = "virt_types.cdi.v1beta1"
        files[file] = module_source(file, definitions, local)
    in_v1 = [file for file in MODULES if file.startswith("virt_types/v1/")]
    why = "KubeVirt's API, group kubevirt.io, version v1: every type reachable from its kinds."
    files["virt_types/v1/__init__.py"] = package_source(why, in_v1)
    return {file: ruff(source, file) for file, source in files.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("swagger", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = []
    for file, source in generate(json.loads(options.swagger.read_text())).items():
        path = ROOT / file
        if path.exists() and path.read_text() == source:
            continue
        stale.append(file)
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
    print("\n".join(stale))
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
