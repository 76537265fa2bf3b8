"""No text of a user changes the structure of a domain: it comes back as it went in, or is refused with its field."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from domain_guests import guest_of, minimal, parsed, vmi_of, with_disks
from hypothesis import example, given, settings
from hypothesis import strategies as st

from virt_handler.domain import render
from virt_handler.domain.proof import FORBIDDEN
from virt_handler.errors import RenderError
from virt_handler.model import DiskSource, Guest

NASTY = [
    "]]>",
    "<!--",
    "-->",
    "&lt;",
    "&#x0;",
    '"',
    "'",
    "{{ 7*7 }}",
    "{% raw %}",
    "<x/>",
    "</domain>",
    "é",
    "\U0001f600",
    " ",
]
texts = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=8)), max_size=4).map("".join)
unclean = st.text(max_size=8).flatmap(
    lambda text: st.sampled_from("\x00\x01\t\n\r\x1b\x7f\x85\ud800\udfff￾").map(lambda char: text + char)
)


def with_texts(name: str, serial: str, chassis: str, kernel_args: str, disk: str) -> Guest:
    manifest = with_disks({"name": "d", "disk": {"bus": "virtio"}, "serial": disk}, chassis={"asset": chassis})
    manifest["spec"]["domain"]["firmware"] = {
        "serial": serial,
        "kernelBoot": {"kernelArgs": kernel_args, "container": {"image": "i", "kernelPath": "/k"}},
    }
    vmi = vmi_of(manifest)
    vmi.metadata.name = name
    return guest_of(manifest)._replace(vmi=vmi)


def shape(node: ET.Element) -> Any:
    """Tags and attribute names, all the way down."""
    return node.tag, sorted(node.attrib), [shape(child) for child in node]


PLAIN = shape(parsed(render(with_texts("n", "s", "c", "k", "d"))))


@settings(deadline=None)  # other jobs share the machine
@given(name=texts, serial=texts, chassis=texts, kernel_args=texts, disk=texts)
@example(name="]]><x/>", serial="&amp;", chassis="{{ domain }}", kernel_args='a="b" <c>', disk="'\"")
def test_every_text_comes_back_and_changes_nothing(**values: str) -> None:
    given_texts = {key: text or "x" for key, text in values.items()}
    guest = with_texts(**given_texts)
    if any(FORBIDDEN.search(text) for text in given_texts.values()):
        with pytest.raises(RenderError, match=r"metadata\.name|spec\."):
            render(guest)
        return
    root = parsed(render(guest))
    assert shape(root) == PLAIN
    assert root.findtext("name") == f"default_{given_texts['name']}"
    assert root.findtext("os/cmdline") == given_texts["kernel_args"]
    assert root.findtext("devices/disk/serial") == given_texts["disk"]
    assert root.findtext("sysinfo/system/entry[@name='serial']") == given_texts["serial"]
    assert root.findtext("sysinfo/chassis/entry") == given_texts["chassis"]


@settings(deadline=None)  # other jobs share the machine
@given(path=texts.filter(lambda text: text and not FORBIDDEN.search(text)))
def test_a_path_comes_back_from_an_attribute(path: str) -> None:
    guest = guest_of(with_disks({"name": "d", "disk": {}}))
    root = parsed(render(guest._replace(disks={"d": DiskSource(path)})))
    source = root.find("devices/disk/source")
    assert source is not None
    assert source.attrib == {"file": path}


@settings(deadline=None)  # other jobs share the machine
@given(text=unclean)
def test_control_characters_and_broken_unicode_are_refused(text: str) -> None:
    manifest = with_disks({"name": "d", "disk": {}, "serial": "s"})
    guest = guest_of(manifest)
    guest.vmi.spec.domain.devices.disks[0].serial = text
    with pytest.raises(RenderError, match=re.escape("spec.domain.devices.disks[0].serial: ")) as caught:
        render(guest)
    assert caught.value.message.isascii()
    assert caught.value.hint


def test_a_refused_text_from_the_node_is_shown_without_a_field() -> None:
    guest = guest_of(with_disks({"name": "d", "disk": {}}), disks={"d": DiskSource("/a\x07b")})
    with pytest.raises(RenderError, match=r"a value of the domain: '/a\\x07b'"):
        render(guest)


def test_unprintable_but_harmless_text_passes() -> None:
    manifest = minimal(firmware={"serial": "a\u00a0b\u200bc"})
    assert "a\u00a0b\u200bc" in render(guest_of(manifest))
