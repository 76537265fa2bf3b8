"""What discovery tells of APIs that others answer: with them the groups are there, without them they are not."""

from __future__ import annotations

import msgspec
import pytest

from virt_local.apiserver.builtins import BUILTINS
from virt_local.apiserver.discovery import CONFIG_GROUP, UPLOAD_GROUP, UPLOAD_VERSION, Discovery
from virt_local.apiserver.registry import Registry


@pytest.mark.parametrize("imports", [False, True])
def test_upload_tokens_can_be_created_by_kubectl(imports: bool) -> None:
    """It looks a kind up before it sends one: `kubectl create -f token-request.yaml`."""
    discovery = Discovery(Registry(BUILTINS), subresources=True, imports=imports)
    found = discovery.resources(UPLOAD_GROUP, UPLOAD_VERSION)
    assert (found is not None) is imports
    if found is not None:
        (entry,) = msgspec.json.decode(found.body)["resources"]
        assert (entry["kind"], entry["namespaced"], entry["verbs"]) == ("UploadTokenRequest", True, ["create"])
    aggregated = msgspec.json.decode(discovery.aggregated("v2", core=False).body)["items"]
    groups = {group["metadata"]["name"]: group for group in aggregated}
    assert (UPLOAD_GROUP in groups) is imports
    assert CONFIG_GROUP not in groups, "its versions are those of its definitions"
