"""Image names as people write them, and where a mirror sends them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from virt_handler.errors import ImageRefused

DEFAULT_REGISTRY = "docker.io"
DOCKER_HUB = "registry-1.docker.io"
MAX_LENGTH = 1024
HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?")
REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Reference(NamedTuple):
    """`registry/repository`, and a tag or a digest (a digest wins)."""

    registry: str
    repository: str
    tag: str
    digest: str = ""

    @property
    def version(self) -> str:
        """What a registry is asked for."""
        return self.digest or self.tag

    def __str__(self) -> str:
        name = f"{self.registry}/{self.repository}"
        return f"{name}@{self.digest}" if self.digest else f"{name}:{self.tag}"


class Location(NamedTuple):
    """Where an image is read from: an OCI layout directory, or a registry's base URL and a repository there."""

    reference: Reference
    base: str = ""
    repository: str = ""
    layout: str = ""


def parse(text: str) -> Reference:
    """The reference, with Docker's defaults filled in; raises ImageRefused."""
    name, at, digest = text.removeprefix("docker://").partition("@")
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        registry, path = first, rest
    else:
        registry, path = DEFAULT_REGISTRY, name
    repository, colon, tag = path.partition(":")
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    valid = (
        len(text) <= MAX_LENGTH
        and HOST.fullmatch(registry)
        and REPOSITORY.fullmatch(repository)
        and (not colon or TAG.fullmatch(tag))
        and (not at or DIGEST.fullmatch(digest))
    )
    if not valid:
        raise ImageRefused(
            f"image {text[:200]!r} is no image reference",
            reason="InvalidImageName",
            hint="write registry/repository:tag or registry/repository@sha256:…, in lower case",
        )
    return Reference(registry, repository, tag or "latest", digest)


def locate(reference: Reference, mirrors: Mapping[str, str], insecure: frozenset[str]) -> Location:
    """Where to read it: the mirror of the longest matching prefix, else its own registry."""
    name = f"{reference.registry}/{reference.repository}"
    matches = [prefix for prefix in mirrors if name == prefix or name.startswith(f"{prefix.rstrip('/')}/")]
    if not matches:
        host = DOCKER_HUB if reference.registry == DEFAULT_REGISTRY else reference.registry
        scheme = "http" if host in insecure or is_loopback(host) else "https"
        return Location(reference, f"{scheme}://{host}", reference.repository)
    prefix = max(matches, key=len)
    target = mirrors[prefix]
    if target.startswith("oci:"):
        return Location(reference, layout=target.removeprefix("oci:"))
    rest = name.removeprefix(prefix).lstrip("/")
    scheme, separator, place = target.rpartition("://")
    host, _, path = place.strip("/").partition("/")
    repository = "/".join(part for part in (path, rest) if part)
    if not separator:
        scheme = "http" if host in insecure or is_loopback(host) else "https"
    if scheme == "http" and host not in insecure and not is_loopback(host):
        raise ImageRefused(
            f"mirror {target!r} of {prefix!r} is plain HTTP and not on this machine",
            reason="InsecureRegistry",
            hint=f"use https, or allow it with --insecure-registry {host}",
        )
    return Location(reference, f"{scheme}://{host}", repository)


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` can only be this machine."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    return name in {"localhost", "[::1]"} or name.startswith("127.")
