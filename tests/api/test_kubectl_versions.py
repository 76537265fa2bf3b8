"""One scenario with every kubectl there is from 1.27 on: what a person does in a first hour."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from pathlib import Path

import pytest
from support.api_server import Kubectl, Served
from support.widgets import widget_definition

pytestmark = pytest.mark.kubectl

OLDEST = 27


def kubectls() -> dict[str, str]:
    """The real programs by version: `kubectl.1.NN` on PATH or beside the kubectl of PATH."""
    here = shutil.which("kubectl")
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    folders += [Path(here).resolve().parent] if here else []
    found = {}
    for folder in folders:
        for path in sorted(folder.glob("kubectl.1.*")) if folder.is_dir() else ():
            if (match := re.fullmatch(r"kubectl\.(1\.(\d+))", path.name)) and int(match[2]) >= OLDEST:
                found.setdefault(match[1], str(path))
    return found


@pytest.fixture(params=sorted(kubectls()) or ["none"])
def shell(request: pytest.FixtureRequest, served: Served, tmp_path: Path) -> Kubectl:
    program = kubectls().get(request.param)
    if program is None:
        pytest.skip("no kubectl.1.27 or newer on PATH, nor beside the kubectl there")
    return Kubectl(program, served.folder / "kubeconfig", tmp_path)


WIDGET = """
apiVersion: example.com/v1
kind: Widget
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{color: {color}, replicas: 1}}
"""


def test_a_first_hour(shell: Kubectl, tmp_path: Path) -> None:
    namespace = f"hour-{uuid.uuid4().hex[:8]}"
    here = ("-n", namespace)
    red, blue = (WIDGET.format(name="w", namespace=namespace, color=color) for color in ("red", "blue"))
    (tmp_path / "crd.json").write_text(json.dumps(widget_definition()))
    shell("apply", "-f", str(tmp_path / "crd.json"))
    shell("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=10s")
    assert "created" in shell("create", "namespace", namespace)
    _typed_commands(shell, here)
    assert "created" in shell("apply", "-f", "-", stdin=red)
    assert "unchanged" in shell("apply", "-f", "-", stdin=red)
    assert "red" in shell("get", "widgets", "w", *here, "-o", "yaml")
    assert shell("get", "widget", "w", *here, "-o", "jsonpath={.spec.color}") == "red"
    assert "NAME" in shell("get", "widgets", *here, "-o", "wide")
    assert "color" in shell("explain", "widget.spec")
    assert "data" in shell("explain", "configmap")
    _changes(shell, here, blue, tmp_path)
    _kustomized(shell, here, tmp_path)
    assert shell("auth", "can-i", "create", "widgets.example.com", *here).strip() == "yes"
    assert "widgets" in shell("api-resources", "--api-group=example.com")
    (tmp_path / "event.json").write_text(
        json.dumps(_event(namespace, shell("get", "widget", "w", *here, "-o", "jsonpath={.metadata.uid}")))
    )
    shell("create", "-f", str(tmp_path / "event.json"))
    assert "Turned" in shell("events", "--for", "widget/w", *here)
    assert "Turned" in shell("describe", "widget", "w", *here)
    assert "deleted" in shell("delete", "widget", "w", *here)
    assert "deleted" in shell("delete", "namespace", namespace, "--wait=true", "--timeout=20s")


def _event(namespace: str, uid: str) -> dict[str, object]:
    about = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "namespace": namespace, "uid": uid}
    times = dict.fromkeys(("firstTimestamp", "lastTimestamp"), "2024-01-01T00:00:00Z")
    meta = {"name": "e", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Event", "metadata": meta, "involvedObject": about, "reason": "Turned", **times}


def _typed_commands(shell: Kubectl, here: tuple[str, ...]) -> None:
    """From 1.32 on their bodies are protobuf."""
    assert "created" in shell("create", "secret", "generic", "s", "--from-literal=k=v", *here)
    assert shell("get", "secret", "s", *here, "-o", "jsonpath={.data.k}") == "dg=="
    assert "created" in shell("create", "configmap", "c", "--from-literal=a=b", *here)
    assert "created" in shell("create", "serviceaccount", "robot", *here)
    assert "created" in shell("create", "service", "clusterip", "web", "--tcp=80:8080", *here)
    assert shell("get", "svc", "web", *here, "-o", "jsonpath={.spec.ports[0].targetPort}") == "8080"
    assert "created" in shell("create", "role", "reader", "--verb=get", "--resource=configmaps", *here)
    assert shell("create", "token", "robot", *here).count(".") == 2


def _changes(shell: Kubectl, here: tuple[str, ...], blue: str, tmp_path: Path) -> None:
    difference = shell.run("diff", "-f", "-", stdin=blue, ok=False)
    assert (difference.returncode, "+  color: blue" in difference.stdout) == (1, True), difference.stderr
    assert "labeled" in shell("label", "widget", "w", *here, "tier=one")
    assert "annotate" in shell("annotate", "widget", "w", *here, "note=n")
    merge, operations = '{"spec":{"color":"green"}}', '[{"op":"replace","path":"/spec/color","value":"grey"}]'
    assert "patched" in shell("patch", "widget", "w", *here, "--type=merge", "-p", merge)
    assert "patched" in shell("patch", "widget", "w", *here, "--type=json", "-p", operations)
    assert "patched" in shell("patch", "configmap", "c", *here, "-p", '{"data":{"x":"y"}}')
    assert shell("get", "configmap", "c", *here, "-o", "jsonpath={.data}") == '{"a":"b","x":"y"}'
    assert "scaled" in shell("scale", "widget", "w", *here, "--replicas=3")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/color: grey/color: pink/" "$1"\n')
    editor.chmod(0o755)
    assert "edited" in shell("edit", "widget", "w", *here, EDITOR=str(editor))
    assert shell("get", "widget", "w", *here, "-o", "jsonpath={.spec.color}{.spec.replicas}") == "pink3"
    forced = ("apply", "--server-side", "--force-conflicts", "-f", "-")
    assert "serverside-applied" in shell(*forced, stdin=blue)
    assert shell("get", "widget", "w", *here, "-o", "jsonpath={.spec.color}") == "blue"


def _kustomized(shell: Kubectl, here: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "overlay"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(
        f"namespace: {here[1]}\nnamePrefix: k-\nresources: [widget.yaml]\nconfigMapGenerator:\n"
        "- {name: made, literals: [a=b], options: {disableNameSuffixHash: true}}\n"
    )
    (folder / "widget.yaml").write_text(WIDGET.format(name="w", namespace=here[1], color="red"))
    assert shell("apply", "-k", str(folder)).count("created") == 2
    assert shell("get", "cm", "k-made", *here, "-o", "jsonpath={.data.a}") == "b"
