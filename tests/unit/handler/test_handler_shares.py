"""Directories that guests share: which volumes can be, and who else gets at them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from virt_handler.errors import ClaimNotFound, HandlerError, UnsupportedVolume, VolumeError
from virt_handler.layout import Layout
from virt_handler.volumes.objects import Objects
from virt_handler.volumes.shares import Shares
from virt_kube.api import NotFound, Resource
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachineInstance

OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    ("PersistentVolumeClaim", "claim"): {"spec": {"resources": {"requests": {"storage": "3Mi"}}}},
    ("ConfigMap", "config"): {"data": {"key": "value"}},
}
CLAIM = {"persistentVolumeClaim": {"claimName": "claim"}}


class Api:
    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        if (resource.kind, name) not in OBJECTS:
            raise NotFound(name)
        return json.dumps(OBJECTS[resource.kind, name]).encode()


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    with tempfile.TemporaryDirectory(prefix="vh", dir="/tmp") as run:  # socket paths are short
        found = Layout(tmp_path / "state", Path(run))
        found.prepare()
        yield found


async def prepared(layout: Layout, **volume: Any) -> Path:
    spec = {
        "domain": {"devices": {"filesystems": [{"name": "share", "virtiofs": {}}]}},
        "volumes": [{"name": "share", **volume}, {"name": "root", "containerDisk": {"image": "x"}}],
    }
    meta = {"name": "vm", "namespace": "default", "uid": "1", "labels": {"a": "b"}}
    vmi = from_builtins({"metadata": meta, "spec": spec}, VirtualMachineInstance)
    (found,) = (await Shares(layout, Objects(Api())).prepare(vmi)).items()  # type: ignore[arg-type]
    assert found[0] == "share"
    return Path(found[1])


@pytest.mark.parametrize("volume", [CLAIM, {"dataVolume": {"name": "claim"}}])
async def test_a_claims_files_are_shared_and_nobody_else_gets_at_them(layout: Layout, volume: dict[str, Any]) -> None:
    guard = layout.volumes / "default/claim/files"
    guard.mkdir(parents=True, mode=0o755)
    found = await prepared(layout, **volume)
    assert found == guard / "root"
    assert guard.stat().st_mode & 0o777 == 0o700
    (found / "kept").write_text("x")
    found.chmod(0o1777)  # the guest's own choice
    assert (await prepared(layout, **volume)).stat().st_mode & 0o7777 == 0o1777
    assert (found / "kept").exists()


async def test_objects_are_shared_as_they_are_at_this_start(layout: Layout) -> None:
    found = await prepared(layout, configMap={"name": "config"})
    assert found.parent.stat().st_mode & 0o777 == 0o700
    assert (found / "key").read_text() == "value"
    (found / "left").write_text("by an earlier attempt")
    assert [path.name for path in (await prepared(layout, configMap={"name": "config"})).iterdir()] == ["key"]
    labels = {"fields": [{"path": "deep/labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}
    assert ((await prepared(layout, downwardAPI=labels)) / "deep/labels").read_text() == 'a="b"'
    layout.remove_guest("1")
    assert not found.parent.exists()


@pytest.mark.parametrize(
    ("volume", "error", "words"),
    [
        ({"emptyDisk": {"capacity": "1Gi"}}, UnsupportedVolume, r"filesystems\[0\]: volume 'share' holds no files"),
        ({"persistentVolumeClaim": {"claimName": "claim", "readOnly": True}}, UnsupportedVolume, "nothing read-only"),
        ({"persistentVolumeClaim": {"claimName": "none"}}, ClaimNotFound, "PVC default/none does not exist"),
        ({"secret": {"secretName": "none"}}, HandlerError, "Secret default/none does not exist"),
    ],
)
async def test_what_can_not_be_shared_says_why(
    layout: Layout, volume: dict[str, Any], error: type[HandlerError], words: str
) -> None:
    with pytest.raises(error, match=words):
        await prepared(layout, **volume)


async def test_a_link_in_the_place_of_the_directory_is_refused(layout: Layout, tmp_path: Path) -> None:
    place = layout.volumes / "default/claim"
    place.mkdir(parents=True)
    (place / "files").symlink_to(tmp_path)
    with pytest.raises(VolumeError, match="can't prepare"):
        await prepared(layout, **CLAIM)
    assert not (tmp_path / "root").exists()
