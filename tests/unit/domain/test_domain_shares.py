"""Directories that a guest shares, in its domain."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from domain_guests import guest_of, minimal

from virt_handler.domain import obstacles, render


@pytest.mark.parametrize(("directories", "source"), [({}, {"socket"}), ({"f": "/claims/a"}, {"dir"})])
def test_files_are_shared_by_whoever_serves_them(directories: dict[str, str], source: set[str]) -> None:
    guest = guest_of(minimal({"filesystems": [{"name": "f", "virtiofs": {}}]}))
    guest = guest._replace(shares=frozenset({"f"}) if not directories else frozenset(), directories=directories)
    assert obstacles(guest) == ()
    (share,) = ET.fromstring(render(guest)).iterfind("devices/filesystem")  # noqa: S314  rendered here
    found, target = share.find("source"), share.find("target")
    assert found is not None
    assert target is not None
    assert (set(found.keys()), target.get("dir")) == (source, "f")
    assert found.get("dir") == directories.get("f")
