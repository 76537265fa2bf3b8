"""Whole domains, as a reviewer reads them: golden/NAME.yaml becomes golden/NAME.xml, byte for byte.

After a wanted change, `UPDATE_GOLDEN=1 pytest tests/unit/domain` writes them anew; review the diff.
"""

from __future__ import annotations

import os

import pytest
from domain_guests import GOLDEN, golden_manifest, guest_of

from virt_handler.domain import render

NAMES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_golden_domain(name: str) -> None:
    text = render(guest_of(golden_manifest(name)))
    path = GOLDEN / f"{name}.xml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.xml")) == NAMES


def test_rendering_is_repeatable() -> None:
    guest = guest_of(golden_manifest("disks"))
    assert render(guest) == render(guest)
