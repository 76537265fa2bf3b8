"""kubectl's rules for finding the server and the credentials, then ours; every mistake names file, field and value."""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_certificates import Certificates
from cli_fake_api import FakeApi
from cli_program import Run

from virt_kube import kubeconfig
from virt_kube.kubeconfig import Flags, KubeconfigError, load


def config(
    name: str, server: str = "", *, current: bool = True, user: dict[str, Any] | None = None, **context: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        **({"current-context": name} if current else {}),
        "clusters": [{"name": name, "cluster": {"server": server or f"https://{name}.test"}}],
        "users": [{"name": name, "user": user or {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, **context}}],
    }


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def into(name: str, document: object) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
        return str(path)

    return into


def test_first_file_wins_for_entries_and_current_context(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write("first", {**config("shared", "https://first.test", current=False)})
    second = write("second", {**config("shared", "https://second.test"), "current-context": "shared"})
    third = write("third", config("other"))
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(["/does/not/exist", "", first, second, third, first]))
    loaded = load()
    assert (loaded.server, loaded.context, loaded.source) == ("https://first.test", "shared", first)
    assert load(context="other").server == "https://other.test"


def test_order_of_places(write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="no cluster is configured"):
        load()
    write("state/kubeconfig", config(kubeconfig.LOCAL_CONTEXT))
    assert load().server == "https://virtctl-local.test"
    write("home/.kube/config", config("home"))
    assert load().server == "https://home.test"
    assert load(context="virtctl-local").server == "https://virtctl-local.test"
    monkeypatch.setenv("KUBECONFIG", write("env", config("env")))
    assert load().server == "https://env.test"
    assert load(write("flag", config("flag"))).server == "https://flag.test"


def test_missing_files_of_the_environment_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/no/such")
    with pytest.raises(KubeconfigError, match=r"\$KUBECONFIG names no usable file \(/no/such\)"):
        load()


def test_in_cluster_comes_before_ours(write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write("state/kubeconfig", config(kubeconfig.LOCAL_CONTEXT))
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", str(tmp_path / "sa"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert load().server == "https://virtctl-local.test"
    token = Path(write("sa/token", "first\n"))
    write("sa/namespace", "mine")
    loaded = load()
    assert (loaded.server, loaded.namespace) == ("https://[fd00::1]:443", "mine")
    assert loaded.headers() == [("Authorization", "Bearer first")]
    token.write_text("rotated")
    assert loaded.headers() == [("Authorization", "Bearer rotated")]


@pytest.mark.parametrize(
    ("flags", "context_namespace", "expected"),
    [
        (Flags(), "", ("default", False)),
        (Flags(), "ctx", ("ctx", False)),
        (Flags(namespace="flag"), "ctx", ("flag", True)),
    ],
)
def test_namespace(write: Any, flags: Flags, context_namespace: str, expected: tuple[str, bool]) -> None:
    path = write("c", config("a", namespace=context_namespace))
    loaded = load(path, flags=flags)
    assert (loaded.namespace, loaded.namespace_given) == expected


BASIC = base64.b64encode(b"me:secret").decode()


@pytest.mark.parametrize(
    ("user", "flags", "headers"),
    [
        ({"token": "t"}, Flags(), [("Authorization", "Bearer t")]),
        ({"token": "t"}, Flags(token="flag"), [("Authorization", "Bearer flag")]),
        ({"tokenFile": "token"}, Flags(), [("Authorization", "Bearer from-file")]),
        ({"token": "t"}, Flags(server="http://plain.test"), []),
        ({"username": "me", "password": "secret"}, Flags(), [("Authorization", f"Basic {BASIC}")]),
        ({}, Flags(username="me", password="secret"), [("Authorization", f"Basic {BASIC}")]),
        (
            {"as": "jane", "as-groups": ["a", "b"]},
            Flags(),
            [("Impersonate-User", "jane"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b")],
        ),
        (
            {"as": "jane"},
            Flags(impersonate="joe", impersonate_uid="7", impersonate_groups=("g",)),
            [("Impersonate-User", "joe"), ("Impersonate-Uid", "7"), ("Impersonate-Group", "g")],
        ),
    ],
)
def test_credentials(write: Any, user: dict[str, Any], flags: Flags, headers: list[tuple[str, str]]) -> None:
    write("token", "from-file\n")
    assert load(write("c", config("a", user=user)), flags=flags).headers() == headers


def exec_user(script: str, **more: Any) -> dict[str, Any]:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script], **more}
    return {"exec": plugin}


def test_exec_plugin(write: Any) -> None:
    script = """echo "$KUBERNETES_EXEC_INFO" | grep -q ExecCredential && echo '{"status":{"token":"'$WHO'"}}'"""
    user = exec_user(script, env=[{"name": "WHO", "value": "plugin"}])
    assert load(write("c", config("a", user=user))).headers() == [("Authorization", "Bearer plugin")]


def test_exec_plugin_path_is_relative_to_its_file(write: Any) -> None:
    plugin = Path(write("bin/plugin", '#!/bin/sh\necho \'{"status":{"token":"here"}}\'\n'))
    plugin.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "./bin/plugin"}}
    assert load(write("c", config("a", user=user))).token == "here"


@pytest.mark.parametrize(
    ("user", "message"),
    [
        (exec_user("exit 3"), "exec plugin sh failed with exit code 3"),
        (exec_user("echo nonsense"), "did not print an ExecCredential"),
        (exec_user("echo '{\"status\":{}}'"), "returned neither a token nor a client certificate"),
        (exec_user("sleep 30"), "did not answer within"),
        (
            exec_user("true", command="no-such-plugin", installHint="apt install it"),
            "exec plugin no-such-plugin can't be run",
        ),
        (exec_user("true", apiVersion="v0"), 'apiVersion "v0" is not one of'),
        (exec_user("true", interactiveMode="Always"), "needs a terminal"),
        ({"auth-provider": {"name": "nonsense"}}, 'auth-provider "nonsense" gave no token'),
    ],
)
def test_plugin_failures(write: Any, monkeypatch: pytest.MonkeyPatch, user: dict[str, Any], message: str) -> None:
    monkeypatch.setattr("virt_kube.credentials.DEADLINE_SECONDS", 0.5)
    with pytest.raises(KubeconfigError, match=message):
        load(write("c", config("a", user=user)))


def broken(**changes: Any) -> dict[str, Any]:
    return {**config("a"), **changes}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("a: [", r'error loading config file ".*/c": yaml: line 2: did not'),
        ('{"a": ', r'error loading config file ".*/c": Expecting value'),
        ("- a", r"it must be a map, not \[\"a\"\]"),
        (broken(clusters={"a": 1}), r'/c": clusters must be a list, not \{"a": 1\}'),
        (broken(users=["x"]), r'users\[0\] must be a map with a name, not "x"'),
        (broken(**{"current-context": 7}), "current-context must be a string, not 7"),
        (broken(**{"current-context": "zz"}), 'context "zz" does not exist'),
        (broken(**{"current-context": ""}), r"the kubeconfig names no current-context \(.*/c\)"),
        (broken(clusters=[]), r'cluster "a" does not exist \(named by .*/c\)'),
        (broken(users=[]), r'auth info "a" does not exist'),
        (config("a", "ftp://x"), 'server "ftp://x" is not an address'),
        (config("a", user={"token": 7}), "token must be a string$"),
        (config("a", user={"client-key-data": "%%%"}), "client-key-data is not base64"),
        (config("a", user={"client-certificate-data": "YQ=="}), "client-key is missing"),
        (config("a", user={"client-key": "/no/such"}), "client-key: open /no/such: no such file or directory"),
    ],
)
def test_mistakes_name_file_field_and_value(write: Any, document: object, expected: str) -> None:
    with pytest.raises(KubeconfigError, match=expected):
        load(write("c", document))


def test_missing_file() -> None:
    with pytest.raises(KubeconfigError, match="stat /no/such: no such file or directory"):
        load("/no/such")


def test_file_of_somebody_else(write: Any, monkeypatch: pytest.MonkeyPatch, virtctl: Run) -> None:
    path = write("c", config("a"))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(
        KubeconfigError, match=f'error loading config file "{path}": open {path}: permission denied'
    ) as caught:
        load(path)
    assert "--kubeconfig" in caught.value.hint


def test_json_needs_no_yaml(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    assert load(write("c", "\n " + json.dumps(config("a")))).server == "https://a.test"


def test_local_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert kubeconfig.local_path() == "/var/lib/virtctl/kubeconfig"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert kubeconfig.local_path() == "/x/virtctl/kubeconfig"


@pytest.fixture
def mutual(certificates: Certificates, tmp_path: Path) -> Iterator[FakeApi]:
    """A server that wants a client certificate."""
    server = FakeApi(certificates.server_context(tmp_path, ask_client=True))
    yield server
    server.stop()


START = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/vm1/start"


@pytest.mark.parametrize(
    "case",
    [
        ("ca", [], ""),
        ("none", ["--insecure-skip-tls-verify"], ""),
        ("ca", ["--tls-server-name=api.test"], ""),
        ("ca", ["--tls-server-name=wrong.test"], "failed to verify certificate: Hostname mismatch"),
        ("none", [], "failed to verify certificate: self-signed certificate in certificate chain"),
    ],
)
def test_tls(
    mutual: FakeApi, certificates: Certificates, virtctl: Run, write: Any, case: tuple[str, list[str], str]
) -> None:
    authority, arguments, expected = case
    mutual.on("PUT", START, (202, None))
    user = {
        "client-certificate-data": base64.b64encode(certificates.client).decode(),
        "client-key-data": base64.b64encode(certificates.client_key).decode(),
    }
    document = config("a", mutual.url, user=user)
    if authority == "ca":
        document["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(certificates.ca).decode()
    result = virtctl("start", "vm1", "--kubeconfig", write("c", document), *arguments)
    assert result.code == (1 if expected else 0)
    assert expected in result.err


def test_client_key_that_is_none(write: Any) -> None:
    user = {"client-certificate-data": "YQ==", "client-key-data": "YQ=="}
    with pytest.raises(KubeconfigError, match="are not a PEM pair"):
        load(write("c", config("a", user=user))).ssl_context()


def test_plain_http_needs_no_tls(write: Any) -> None:
    assert load(write("c", config("a", "http://a.test"))).ssl_context() is None
    context = load(write("d", config("a"))).ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
