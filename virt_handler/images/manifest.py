"""Manifests and indexes of OCI and Docker: which one is for this machine, and which layers it has. Pure."""

from __future__ import annotations

import hashlib
import platform
from typing import Any, NamedTuple

import msgspec

from virt_handler.errors import ImageRefused
from virt_handler.images.reference import DIGEST

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MAX_MANIFEST = 4 << 20
MAX_LAYERS = 128
MAX_LAYER = 1 << 40
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# By the end of a layer's media type; what has no end here is refused.
COMPRESSIONS = {"tar": "", "tar+gzip": "gzip", "tar.gzip": "gzip", "tar+zstd": "zstd", "tar.zstd": "zstd"}


class Descriptor(NamedTuple):
    """One blob: what it is, its digest, its size in bytes."""

    media_type: str
    digest: str
    size: int

    @property
    def compression(self) -> str:
        """ "", "gzip" or "zstd"; raises ImageRefused."""
        ending = self.media_type.rpartition(".")[2]
        if self.media_type.endswith((".tar.gzip", ".tar.zstd")):
            ending = self.media_type[-len("tar.gzip") :]
        if ending not in COMPRESSIONS:
            raise ImageRefused(f"layer {self.digest} has the unknown media type {self.media_type!r}")
        return COMPRESSIONS[ending]


def architecture() -> str:
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def is_index(document: dict[str, Any]) -> bool:
    return document.get("mediaType") in INDEXES or "manifests" in document


def read(data: bytes, image: str) -> dict[str, Any]:
    """The JSON object of a manifest or index; raises ImageRefused."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ImageRefused(f"image {image}: its manifest is not a JSON object")
    return document


def choose(index: dict[str, Any], image: str, wanted: str = "") -> Descriptor:
    """The manifest for an architecture, this machine's if none is given; raises ImageRefused naming those there are."""
    wanted, others = wanted or architecture(), []
    entries = index.get("manifests")
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            continue
        where = entry.get("platform")
        if not isinstance(where, dict) or (where.get("architecture"), where.get("os", "linux")) == (wanted, "linux"):
            return descriptor(entry, image)
        others.append(f"{where.get('os')}/{where.get('architecture')}"[:40])
    raise ImageRefused(f"image {image} is not for linux/{wanted}: it has {', '.join(others[:8]) or 'nothing'}")


def layers(manifest: dict[str, Any], image: str) -> list[Descriptor]:
    """The layers, lowest first; raises ImageRefused."""
    entries = manifest.get("layers")
    if not isinstance(entries, list) or len(entries) > MAX_LAYERS:
        raise ImageRefused(f"image {image}: its manifest has no usable list of layers (at most {MAX_LAYERS})")
    return [descriptor(entry, image) for entry in entries]


def descriptor(entry: Any, image: str) -> Descriptor:
    """One descriptor, checked; raises ImageRefused."""
    if isinstance(entry, dict):
        media_type, digest, size = entry.get("mediaType", ""), entry.get("digest"), entry.get("size")
        well_formed = isinstance(media_type, str) and isinstance(digest, str) and DIGEST.fullmatch(digest)
        if well_formed and isinstance(size, int) and 0 <= size <= MAX_LAYER:
            return Descriptor(media_type, str(digest), size)
    raise ImageRefused(f"image {image}: its manifest has a malformed descriptor")
