"""Our domains beside those KubeVirt's converter made of the same instances (recorded in ../shared/data/domainxml)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from domain_differences import ACCEPTED, RECORDED
from domain_guests import parsed

from virt_handler.domain import preview, render
from virt_handler.errors import RenderError
from virt_types import codec
from virt_types.v1 import VirtualMachineInstance

SHARED = Path(__file__).resolve().parents[4] / "shared"
DATA = SHARED / "data" / "domainxml"
COMPARE = SHARED / "tools" / "compare_domain.py"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the recorded domains are not beside this checkout")


CASES = sorted(path.stem for path in (DATA / "xml").glob("*.xml"))
ERRORS = sorted(path.stem for path in (DATA / "error").glob("*.error"))


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_domain", COMPARE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rendered(case: str) -> str:
    obj = yaml.load((DATA / "defaulted" / f"{case}.yaml").read_text(), yaml.CSafeLoader)
    return render(preview(codec.from_builtins(obj, VirtualMachineInstance)))


@pytest.mark.parametrize("case", CASES)
def test_means_what_kubevirts_domain_means(case: str, compare: ModuleType) -> None:
    expected = compare.parse(DATA / "xml" / f"{case}.xml")
    actual = parsed(rendered(case))
    found = {section for section, _, _ in compare.differences(expected, actual)}
    assert found == {section for name, section in RECORDED if name == case}


@pytest.mark.parametrize("case", [case for case in ERRORS if case not in ACCEPTED])
def test_refuses_what_kubevirt_refuses_and_says_where(case: str) -> None:
    with pytest.raises(RenderError) as caught:
        rendered(case)
    assert "spec." in caught.value.message or "PCI root bus" in caught.value.message


@pytest.mark.parametrize("case", sorted(ACCEPTED))
def test_renders_what_only_crashes_kubevirt(case: str) -> None:
    assert '<hyperv mode="passthrough"/>' in rendered(case)
