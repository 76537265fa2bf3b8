"""What `subresources.kubevirt.io` offers: the group, its versions, their resources; version and healthz."""

from __future__ import annotations

import functools
import importlib.metadata
import platform

from aiohttp import web

from virt_api.objects import KUBE
from virt_api.subresources import GROUP, VERSIONS, resource_list
from virt_kube.api import ApiError, Json, NotFound
from virt_kube.resources import NAMESPACES


async def group(_: web.Request) -> web.Response:
    versions = [{"groupVersion": f"{GROUP}/{version}", "version": version} for version in VERSIONS]
    return web.json_response(
        {"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": versions, "preferredVersion": versions[0]}
    )


async def resources(request: web.Request) -> web.Response:
    return web.json_response(resource_list(request.match_info["version"]))


async def version(_: web.Request) -> web.Response:
    return web.json_response(build_info())


@functools.cache
def build_info() -> Json:
    """KubeVirt's version document; what has no meaning here is empty."""
    try:
        number = importlib.metadata.version("virtctl")
    except importlib.metadata.PackageNotFoundError:
        number = "0.0.0"
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "gitVersion": f"v{number}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": platform.python_implementation().lower(),
        "platform": f"linux/{machine}",
    }


async def healthz(request: web.Request) -> web.Response:
    """Healthy means that the Kubernetes API answers us."""
    try:
        await request.app[KUBE].get(NAMESPACES, "", "default")
    except NotFound:
        pass
    except ApiError as err:
        return web.json_response({"apiserver": {"connectivity": "failed", "error": err.message}}, status=500)
    return web.json_response({"apiserver": {"connectivity": "ok"}})
