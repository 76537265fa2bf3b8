"""What `virtctl local up` was asked for: directories, components and their options, as one value.

Made by the command line, handed to the supervisor's process as JSON, read by every component's factory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

# In the order in which they start; each is named so on the command line and in `local status`.
COMPONENTS = ("api", "subresources", "controllers", "node", "proxy", "storage", "importer")


class Places(msgspec.Struct, frozen=True):
    """The two directories of a one-machine cluster and what lies in them (docs/architecture.md)."""

    state: Path
    run: Path

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def log(self) -> Path:
        return self.state / "log" / "local.log"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def imports(self) -> Path:
        return self.state / "imports"

    @property
    def records(self) -> Path:
        return self.state / "node" / "records"

    @property
    def register(self) -> Path:
        return self.run / "local.json"

    @property
    def api_socket(self) -> Path:
        return self.run / "virt-api.sock"

    @property
    def importer_socket(self) -> Path:
        return self.run / "importer.sock"

    @property
    def handler_socket(self) -> Path:
        return self.run / "virt-handler.sock"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`port` 0 means the port of last time, or a free one; the mirrors map prefixes of images and URLs to locations.

    `any_port`: nobody asked for `port`, so another will do when it is taken.
    """

    places: Places
    components: tuple[str, ...] = COMPONENTS
    host: str = "127.0.0.1"
    port: int = 0
    any_port: bool = False
    node_name: str = ""
    accelerator: Literal["auto", "kvm", "qemu"] = "auto"
    network: str = "virtctl"
    audit_log: Path | None = None
    registry_mirrors: dict[str, str] = msgspec.field(default_factory=dict)
    http_mirrors: dict[str, str] = msgspec.field(default_factory=dict)


def encode(settings: Settings) -> str:
    return msgspec.json.encode(settings, enc_hook=str).decode()


def decode(text: str) -> Settings:
    return msgspec.json.decode(text, type=Settings, dec_hook=lambda type_, value: type_(value))
