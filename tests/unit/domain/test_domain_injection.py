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
from virt_handler.model import DiskSource, Guest, NicSource

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
@given(
    user_data=texts,
    network_data=texts,
    label=texts,
    annotation=texts,
    source=st.sampled_from(("NoCloud", "ConfigDrive")),
)
def test_user_data_labels_and_annotations_are_not_in_the_domain(
    user_data: str, network_data: str, label: str, annotation: str, source: str
) -> None:
    """They reach the guest by a volume: whatever they hold, the domain is the same to the letter."""

    def seeded(user: str, network: str, note: str, more: str) -> str:
        manifest = with_disks({"name": "d", "disk": {"bus": "virtio"}})
        manifest["spec"]["volumes"] = [
            {"name": "d", f"cloudInit{source}": {"userData": user, "networkData": network, "secretRef": {"name": user}}}
        ]
        guest = guest_of(manifest, disks={"d": DiskSource("/seed.iso", readonly=True)})
        guest.vmi.metadata.labels = {"note": note}
        guest.vmi.metadata.annotations = {"note": more}
        return render(guest)

    assert seeded(user_data, network_data, label, annotation) == seeded("x", "x", "x", "x")


@settings(deadline=None)  # other jobs share the machine
@given(model=texts, name=texts, feature=texts)
def test_texts_of_interfaces_and_processors_come_back(model: str, name: str, feature: str) -> None:
    """Rules of admission would refuse most of these; the domain does not rely on that."""
    manifest = minimal({"interfaces": [{"name": "n", "masquerade": {}, "model": "e1000e"}]})
    manifest["spec"]["networks"] = [{"name": "n", "pod": {}}]
    manifest["spec"]["domain"]["cpu"] = {"model": "m", "features": [{"name": "f"}]}
    guest = guest_of(manifest, nics={"n": NicSource("bridge", "br")})
    interface = guest.vmi.spec.domain.devices.interfaces[0]
    interface.model = model or "e1000e"
    guest.vmi.spec.domain.cpu.model, guest.vmi.spec.domain.cpu.features[0].name = name or "m", feature or "f"
    values = (interface.model, name or "m", feature or "f")
    if any(FORBIDDEN.search(text) for text in values):
        with pytest.raises(RenderError, match=r"spec\.domain"):
            render(guest)
        return
    root = parsed(render(guest))
    assert root.find("devices/interface/model").attrib == {"type": values[0]}
    assert root.findtext("cpu/model") == values[1]
    assert root.find("cpu/feature").get("name") == values[2]


@settings(deadline=None)  # other jobs share the machine
@given(mac=st.one_of(texts.filter(bool), st.from_regex(r"[0-9a-fA-F]{2}([:-][0-9a-f]{2}){4,6}")))
def test_a_mac_is_a_mac_or_refused_by_its_field(mac: str) -> None:
    manifest = minimal({"interfaces": [{"name": "n", "masquerade": {}}]})
    manifest["spec"]["networks"] = [{"name": "n", "pod": {}}]
    guest = guest_of(manifest, nics={"n": NicSource("bridge", "br")})
    guest.vmi.spec.domain.devices.interfaces[0].mac_address = mac
    if re.fullmatch(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}", mac):
        address = mac.replace("-", ":").lower()
        assert f'<mac address="{address}"/>' in render(guest)
        return
    with pytest.raises(RenderError) as caught:
        render(guest)
    assert caught.value.message.startswith("spec.domain.devices.interfaces[0].macAddress: ")
    assert caught.value.message.isascii()


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
