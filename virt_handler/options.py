"""How the node agent is told what to do: given by `virt-handler`'s options or by the one-machine supervisor."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from virt_handler.layout import Layout
from virt_kube import places

AcceleratorChoice = Literal["auto", "kvm", "qemu"]


def default_libvirt_uri() -> str:
    return "qemu:///system" if os.geteuid() == 0 else "qemu:///session"


def default_node_name() -> str:
    return socket.gethostname().lower()


@dataclass(frozen=True, slots=True)
class Options:
    """`registry_mirrors` maps an image prefix (`docker.io`) to `http://host:port[/prefix]` or `oci:/directory`.

    `insecure_registries` are hosts spoken to in plain HTTP; loopback always may. `register_node` creates the Node
    object when nobody else does (one machine). `network` is the libvirt network guests join, made when missing.
    """

    node_name: str = field(default_factory=default_node_name)
    state_dir: Path = field(default_factory=lambda: Path(places.state_dir()))
    run_dir: Path = field(default_factory=lambda: Path(places.run_dir()))
    libvirt_uri: str = field(default_factory=default_libvirt_uri)
    registry_mirrors: Mapping[str, str] = field(default_factory=dict)
    insecure_registries: frozenset[str] = frozenset()
    accelerator: AcceleratorChoice = "auto"
    network: str = "virtctl"
    bridge: str = "virtctl0"
    register_node: bool = True
    workers: int = 8

    @property
    def layout(self) -> Layout:
        return Layout(self.state_dir, self.run_dir)
