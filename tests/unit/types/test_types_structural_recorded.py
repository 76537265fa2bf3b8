"""The compiled walker against a real API server's answers (../shared/data/apiserver)."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from virt_types.structural import Walker, compile_schema

CRDS = {
    "virtualmachines": "virtualmachines.kubevirt.io",
    "virtualmachineinstances": "virtualmachineinstances.kubevirt.io",
    "datavolumes": "cdi-datavolume",
    "datasources": "cdi-datasource",
}


def steps(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text().splitlines():
        step = json.loads(line)
        if step.get("request", {}).get("method") == "POST":
            yield step


def recorded_causes(step: dict[str, Any]) -> list[tuple[str, str, str]]:
    body = step["response"]["body"]
    causes = body.get("details", {}).get("causes", ()) if body.get("kind") == "Status" else ()
    return sorted((cause["reason"], cause["message"], cause["field"]) for cause in causes)


def recorded_unknown(step: dict[str, Any]) -> list[str]:
    warnings = step["response"]["headers"].get("Warning") or ()
    return sorted(
        json.loads(text.split("unknown field ")[1][:-1].replace('\\"', '"')) for text in warnings if "field" in text
    )


def check(step: dict[str, Any], walker: Walker) -> None:
    obj = copy.deepcopy(step["request"]["body"])
    result = walker(obj)
    assert sorted(map(tuple, result.causes)) == recorded_causes(step), step["step"]
    assert sorted(result.unknown) == recorded_unknown(step), step["step"]
    if step["response"]["code"] == 201:
        stored = step["response"]["body"]
        assert obj.get("spec") == stored.get("spec"), step["step"]


def test_every_keyword(shared_data: Path) -> None:
    file = shared_data / "apiserver/http/schema-errors.jsonl"
    all_steps = list(steps(file))
    crd = next(step for step in all_steps if step["request"]["path"].endswith("customresourcedefinitions"))
    walker = compile_schema(crd["request"]["body"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    bigs = [step for step in all_steps if "/bigs" in step["request"]["path"]]
    assert len(bigs) > 60
    for step in bigs:
        check(step, walker)


# What the walker leaves to others: RS replica counts are a rule of the scale subresource.
@pytest.mark.parametrize("plural", CRDS)
def test_kubevirts_own_schemas(shared_data: Path, plural: str) -> None:
    text = (shared_data / "apiserver/crds" / f"{CRDS[plural]}.yaml").read_text()
    crd = yaml.load(text, yaml.CSafeLoader)
    walker = compile_schema(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    file = shared_data / "apiserver/http/vm-schema-errors.jsonl"
    posts = [step for step in steps(file) if step["request"]["path"].split("?")[0].endswith(f"/{plural}")]
    assert posts
    for step in posts:
        check(step, walker)
