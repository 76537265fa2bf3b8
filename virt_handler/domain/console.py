"""Serial port, guest channels and screen: how people and agents reach the guest. Specification: domain-xml §7."""

from __future__ import annotations

from pathlib import PurePosixPath

from virt_handler.domain.context import Channel, Serial, Video
from virt_handler.domain.traits import Traits
from virt_handler.model import Guest

AGENT_CHANNEL = "org.qemu.guest_agent.0"
METRICS_CHANNEL = "org.github.vhostmd.1"
VIDEO_KIB = 16384
REDIRECTIONS = 4


def serial_of(guest: Guest) -> Serial | None:
    devices = guest.vmi.spec.domain.devices
    if devices.autoattach_serial_console is False:
        return None
    return Serial(guest.files.serial_socket, guest.files.serial_log if devices.log_serial_console is not False else "")


def channels_of(guest: Guest) -> tuple[Channel, ...]:
    channels = [Channel(AGENT_CHANNEL, "")]
    if guest.vmi.spec.domain.devices.downward_metrics is not None:
        channels.append(Channel(METRICS_CHANNEL, beside_serial(guest, "downwardmetrics.sock")))
    return tuple(channels)


def usb_redirections_of(guest: Guest) -> tuple[str, ...]:
    """Sockets that remote USB devices are attached through."""
    if guest.vmi.spec.domain.devices.client_passthrough is None:
        return ()
    return tuple(beside_serial(guest, f"usbredir-{number}") for number in range(REDIRECTIONS))


def has_screen(guest: Guest) -> bool:
    return guest.vmi.spec.domain.devices.autoattach_graphics_device is not False


def video_of(guest: Guest, traits: Traits) -> Video | None:
    if not has_screen(guest):
        return None
    asked = guest.vmi.spec.domain.devices.video
    if asked and asked.type:
        return Video(asked.type, VIDEO_KIB)
    if traits.arch.name != "amd64":
        return Video("virtio", 0)
    return Video("bochs", 0) if traits.efi else Video("vga", VIDEO_KIB)  # EFI needs no VGA registers


def beside_serial(guest: Guest, name: str) -> str:
    """A further socket of this guest, in the directory of its serial socket."""
    return str(PurePosixPath(guest.files.serial_socket).with_name(name))
