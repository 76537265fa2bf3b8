"""Credentials a kubeconfig user gets from a program: exec plugins, and the older auth-providers (OIDC).

Imported by `virt_kube.kubeconfig` only when the user entry asks for one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from virt_kube.client_config import KubeconfigError

if TYPE_CHECKING:
    from virt_kube.client_config import ClientConfig

DEADLINE_SECONDS = 60.0
API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


def from_plugin(config: ClientConfig, user: dict[str, Any], source: str) -> ClientConfig:
    """`config` with the credentials the user's plugin returns. Raises KubeconfigError."""
    if isinstance(user.get("exec"), dict):
        return _with_exec(config, user["exec"], source)
    if isinstance(user.get("auth-provider"), dict):
        return config._replace(token=_auth_provider_token(user["auth-provider"], source))
    raise KubeconfigError(f"the user's exec or auth-provider must be a map ({source})")


def _with_exec(config: ClientConfig, plugin: dict[str, Any], source: str) -> ClientConfig:
    api_version = str(plugin.get("apiVersion") or "")
    if api_version not in API_VERSIONS:
        raise KubeconfigError(
            f'exec plugin: apiVersion "{api_version}" is not one of {", ".join(API_VERSIONS)} ({source})'
        )
    command = str(plugin.get("command") or "")
    if not command:
        raise KubeconfigError(f"exec plugin: command is missing ({source})")
    if "/" in command:
        command = os.path.join(os.path.dirname(source), command)  # noqa: PTH118, PTH120
    output = _run(command, plugin, api_version, config)
    try:
        status = json.loads(output)["status"]
        token, cert, key = (str(status.get(f) or "") for f in ("token", "clientCertificateData", "clientKeyData"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KubeconfigError(f"exec plugin {command} did not print an ExecCredential with a status") from error
    if not token and not (cert and key):
        raise KubeconfigError(f"exec plugin {command} returned neither a token nor a client certificate with its key")
    return config._replace(token=token, client_cert=cert.encode(), client_key=key.encode())


def _run(command: str, plugin: dict[str, Any], api_version: str, config: ClientConfig) -> bytes:
    interactive = plugin.get("interactiveMode") != "Never" and sys.stdin is not None and sys.stdin.isatty()
    if plugin.get("interactiveMode") == "Always" and not interactive:
        raise KubeconfigError(f"exec plugin {command} needs a terminal (interactiveMode: Always) and stdin is none")
    environment = dict(os.environ)
    environment.update({str(e["name"]): str(e["value"]) for e in plugin.get("env") or [] if isinstance(e, dict)})
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(_exec_info(plugin, api_version, config, interactive))
    arguments = [command, *(str(a) for a in plugin.get("args") or [])]
    try:
        done = subprocess.run(
            arguments,
            env=environment,
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise KubeconfigError(f"exec plugin {command} did not answer within {DEADLINE_SECONDS:.0f} s") from error
    except OSError as error:
        raise KubeconfigError(
            f"exec plugin {command} can't be run: {(error.strerror or str(error)).lower()}",
            hint=str(plugin.get("installHint") or "The kubeconfig's users[].user.exec.command names it."),
        ) from error
    if done.returncode:
        raise KubeconfigError(f"exec plugin {command} failed with exit code {done.returncode}; what it said is above")
    return done.stdout


def _exec_info(plugin: dict[str, Any], api_version: str, config: ClientConfig, interactive: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.get("provideClusterInfo"):
        import base64

        cluster: dict[str, Any] = {"server": config.server}
        if config.ca_data:
            cluster["certificate-authority-data"] = base64.b64encode(config.ca_data).decode()
        if config.tls_server_name:
            cluster["tls-server-name"] = config.tls_server_name
        if config.insecure:
            cluster["insecure-skip-tls-verify"] = True
        spec["cluster"] = cluster
    return {"apiVersion": api_version, "kind": "ExecCredential", "spec": spec}


def _auth_provider_token(provider: dict[str, Any], source: str) -> str:
    """The bearer token of a legacy auth-provider; refreshing OIDC is the `kubernetes` package's business (200 ms)."""
    from kubernetes import client, config

    name = "virtctl"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": "https://unused.invalid"}}],
        "users": [{"name": name, "user": {"auth-provider": provider}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    configuration = client.Configuration()
    try:
        load: Any = config.load_kube_config_from_dict
        load(document, client_configuration=configuration, persist_config=False)
    except Exception as error:
        raise KubeconfigError(f'auth-provider "{provider.get("name")}" failed ({source}): {error}') from error
    value: str = configuration.api_key.get("authorization", "")
    if not value:
        raise KubeconfigError(f'auth-provider "{provider.get("name")}" gave no token ({source})')
    return value.removeprefix("Bearer ")
