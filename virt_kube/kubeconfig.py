"""Where the API is and who we are, by kubectl's rules: flags, $KUBECONFIG, ~/.kube/config, the pod's service account.

Ours is one more place, looked at last: the kubeconfig `virtctl local up` writes. Its context `virtctl-local` can be
named even when other files exist. Called by virtctl on every command, so it imports the standard library only, and YAML
when a file needs it; `virt_kube.http` uses the same loader.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from virt_kube.client_config import ClientConfig, KubeconfigError, of_file, read
from virt_kube.kubeconfig_files import Entry, Json, Merged, blob, path_of, read_merged, string, typed
from virt_kube.places import state_dir

__all__ = ["LOCAL_CONTEXT", "ClientConfig", "Flags", "KubeconfigError", "load", "local_path"]

LOCAL_CONTEXT = "virtctl-local"
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

CREATE_HINT = (
    "Start the one-machine cluster with `virtctl local up`, or name a configuration with --kubeconfig or $KUBECONFIG."
)


class Flags(NamedTuple):
    """kubectl's connection flags; an empty value is a flag that was not given."""

    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""
    user: str = ""
    namespace: str = ""
    server: str = ""
    token: str = ""
    username: str = ""
    password: str = ""
    impersonate: str = ""
    impersonate_uid: str = ""
    impersonate_groups: tuple[str, ...] = ()
    certificate_authority: str = ""
    client_certificate: str = ""
    client_key: str = ""
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str = ""
    proxy_url: str = ""


def load(path: str | None = None, context: str | None = None, flags: Flags | None = None) -> ClientConfig:
    """The configuration kubectl would use, else the one-machine cluster's. Raises KubeconfigError.

    `path` and `context` are short for the flags --kubeconfig and --context.
    """
    flags = flags or Flags()
    flags = flags._replace(kubeconfig=path or flags.kubeconfig, context=context or flags.context)
    merged = _find(flags)
    if merged is None:
        in_cluster = _in_cluster()
        if in_cluster and not flags.context and not flags.server:
            return _finish(in_cluster, flags)
        merged = _read_local()
    if merged is None:
        if flags.context:
            raise KubeconfigError(f'context "{flags.context}" does not exist', hint=CREATE_HINT)
        if not flags.server:
            named = os.environ.get("KUBECONFIG")
            why = f"$KUBECONFIG names no usable file ({named})" if named else "there is no kubeconfig file"
            raise KubeconfigError(f"no cluster is configured: {why}", hint=CREATE_HINT)
        merged = Merged()
    elif flags.context == LOCAL_CONTEXT and LOCAL_CONTEXT not in merged.contexts:
        merged = _read_local() or merged
    return _select(merged, flags)


def local_path() -> str:
    """The kubeconfig of this user's one-machine cluster: STATE/kubeconfig of docs/architecture.md."""
    return f"{state_dir()}/kubeconfig"


def _find(flags: Flags) -> Merged | None:
    """The files kubectl reads, merged; None when there is not one (or all are empty)."""
    if flags.kubeconfig:
        if not os.path.lexists(flags.kubeconfig):
            raise KubeconfigError(
                f"stat {flags.kubeconfig}: no such file or directory",
                hint="--kubeconfig must name an existing file; without it virtctl uses $KUBECONFIG or ~/.kube/config.",
            )
        paths = [flags.kubeconfig]
    else:
        listed = os.environ.get("KUBECONFIG", "")
        paths = listed.split(os.pathsep) if listed else [os.path.expanduser("~/.kube/config")]  # noqa: PTH111
    merged = read_merged(filter(None, paths))
    return merged if merged and (flags.kubeconfig or not merged.empty) else None


def _read_local() -> Merged | None:
    return read_merged([local_path()])


def _in_cluster() -> ClientConfig | None:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    token_file = f"{SERVICE_ACCOUNT}/token"
    if not host or not port or not os.path.exists(token_file):  # noqa: PTH110
        return None
    namespace = os.environ.get("POD_NAMESPACE") or _read_optional(f"{SERVICE_ACCOUNT}/namespace") or "default"
    return ClientConfig(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace,
        ca_data=_read_optional(f"{SERVICE_ACCOUNT}/ca.crt").encode(),
        token_file=token_file,
    )


def _read_optional(path: str) -> str:
    return read(path).decode(errors="replace").strip() if os.path.exists(path) else ""  # noqa: PTH110


def _select(merged: Merged, flags: Flags) -> ClientConfig:
    name = flags.context or merged.current
    context = Entry({}, "")
    if name:
        if name not in merged.contexts:
            known = ", ".join(sorted(merged.contexts)) or "none"
            raise KubeconfigError(f'context "{name}" does not exist', hint=f"Known contexts: {known}.")
        context = merged.contexts[name]
    elif not flags.server and not flags.cluster:
        known = ", ".join(sorted(merged.contexts)) or "none"
        raise KubeconfigError(
            f"the kubeconfig names no current-context{of_file(', '.join(merged.sources))}",
            hint=f"Choose one with --context; known contexts: {known}.",
        )
    cluster = _entry(merged.clusters, flags.cluster, context, "cluster", "cluster")
    user = _entry(merged.users, flags.user, context, "user", "auth info")
    config = _config(cluster, user, needs_server=not flags.server)
    return _finish(
        config._replace(
            context=name,
            namespace=string(context.fields, "namespace", context.source) or "default",
            source=cluster.source,
        ),
        flags,
        user,
    )


def _entry(entries: dict[str, Entry], override: str, context: Entry, field: str, title: str) -> Entry:
    """The cluster or user a context names; none named is an empty one."""
    name = override or string(context.fields, field, context.source)
    if not name:
        return Entry({}, "")
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        where = f" (named by {context.source})" if context.source and not override else ""
        raise KubeconfigError(f'{title} "{name}" does not exist{where}', hint=f"Known: {known}.")
    return entries[name]


def _config(cluster: Entry, user: Entry, *, needs_server: bool) -> ClientConfig:
    fields, source = cluster
    server = string(fields, "server", source)
    if not server and needs_server:
        raise KubeconfigError(
            f"the cluster has no server address{f' ({source})' if source else ''}",
            hint="Set clusters[].cluster.server, or --server.",
        )
    token_file = path_of(user, "tokenFile")
    return ClientConfig(
        server=server,
        ca_data=blob(cluster, "certificate-authority"),
        insecure=typed(fields, "insecure-skip-tls-verify", bool, source),
        tls_server_name=string(fields, "tls-server-name", source),
        proxy_url=string(fields, "proxy-url", source),
        client_cert=blob(user, "client-certificate"),
        client_key=blob(user, "client-key"),
        token=string(user.fields, "token", user.source),
        token_file=token_file,
        username=string(user.fields, "username", user.source),
        password=string(user.fields, "password", user.source),
        impersonate=string(user.fields, "as", user.source),
        impersonate_uid=string(user.fields, "as-uid", user.source),
        impersonate_groups=tuple(typed(user.fields, "as-groups", list, user.source)),
    )


_PLAIN_FLAGS = (
    "server",
    "username",
    "password",
    "tls_server_name",
    "proxy_url",
    "impersonate",
    "impersonate_uid",
    "impersonate_groups",
)


def _finish(config: ClientConfig, flags: Flags, user: Entry | None = None) -> ClientConfig:
    """The flags on top of what the files say, then the credentials of a plugin when nothing else is there."""
    changes: Json = {field: value for field in _PLAIN_FLAGS if (value := getattr(flags, field))}
    if flags.namespace:
        changes.update(namespace=flags.namespace, namespace_given=True)
    if flags.token:
        changes.update(token=flags.token, token_file="")
    if flags.insecure_skip_tls_verify is not None:
        changes["insecure"] = flags.insecure_skip_tls_verify
    if flags.certificate_authority:
        changes["ca_data"] = read(flags.certificate_authority, "--certificate-authority")
    if flags.client_certificate:
        changes["client_cert"] = read(flags.client_certificate, "--client-certificate")
    if flags.client_key:
        changes["client_key"] = read(flags.client_key, "--client-key")
    config = config._replace(**changes)
    config = config._replace(server=_server(config.server))
    if config.insecure and flags.certificate_authority:
        raise KubeconfigError("--certificate-authority and --insecure-skip-tls-verify exclude each other")
    if bool(config.client_cert) != bool(config.client_key):
        missing = "client-key" if config.client_cert else "client-certificate"
        raise KubeconfigError(f"the user has half a client certificate: {missing} is missing{of_file(config.source)}")
    has_credentials = config.token or config.token_file or config.username or config.client_cert
    if user and config.tls and not has_credentials and ("exec" in user.fields or "auth-provider" in user.fields):
        from virt_kube.credentials import from_plugin

        return from_plugin(config, user.fields, user.source)
    return config


def _server(server: str) -> str:
    """kubectl's spellings of an address: a bare host:port is plain HTTP."""
    if "://" not in server:
        server = f"http://{server}"
    scheme, _, rest = server.partition("://")
    if scheme not in ("http", "https") or not rest.strip("/") or any(c.isspace() or c in "?#" for c in rest):
        raise KubeconfigError(
            f'server "{server}" is not an address',
            hint="Write it as https://HOST:PORT, with a path prefix if there is one.",
        )
    return server.rstrip("/")
