"""A mistyped or misplaced field is told what it may have been."""

from __future__ import annotations

import pytest

from virt_types.crds import custom_resource_definitions
from virt_types.structural.suggest import suggestion

SCHEMAS = {
    definition["spec"]["names"]["kind"]: definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for definition in custom_resource_definitions()
}


@pytest.mark.parametrize(
    ("kind", "field", "said"),
    [
        ("VirtualMachineInstance", "spec.domian", 'did you mean "domain"?'),
        ("VirtualMachineInstance", "spec.domain.devices.disks[3].bootorder", 'did you mean "bootOrder"?'),
        ("VirtualMachineInstance", "spec.volumes[0].cloudInitNocloud", 'did you mean "cloudInitNoCloud"?'),
        ("VirtualMachine", "spec.domain", "it belongs to spec.template.spec"),
        ("VirtualMachine", "spec.terminationGracePeriodSeconds", "it belongs to spec.template.spec"),
        ("VirtualMachine", "spec.template.spec.runStrategy", "it belongs to spec"),
        ("VirtualMachineInstance", "spec.domain.devices.disks[0].containerDisk", "it belongs to spec.volumes[]"),
        ("VirtualMachineInstance", "spec.qqqqq", ""),
        ("VirtualMachineInstance", "spec.domain.name", ""),
        ("VirtualMachineInstance", "", ""),
        ("VirtualMachineInstance", "spec.nodeSelector.a.b", ""),
    ],
)
def test_suggestions(kind: str, field: str, said: str) -> None:
    assert suggestion(SCHEMAS[kind], field) == said
