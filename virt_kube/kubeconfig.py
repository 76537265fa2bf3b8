"""Where the API is and who we are, by kubectl's rules: flags, $KUBECONFIG, ~/.kube/config, the pod's service account.

Ours is one more place, looked at last: the kubeconfig `virtctl local up` writes. Its context `virtctl-local` can be
named even when other files exist. Called by virtctl on every command, so it imports the standard library only, and YAML
when a file needs it; `virt_kube.http` uses the same loader.
"""

from __future__ import annotations

import binascii
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from virt_types.errors import VirtError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

Json = dict[str, Any]

LOCAL_CONTEXT = "virtctl-local"
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
MAX_BYTES = 16 << 20

CREATE_HINT = (
    "Start the one-machine cluster with `virtctl local up`, or name a configuration with --kubeconfig or $KUBECONFIG."
)


class KubeconfigError(VirtError):
    """The configuration can't be used; the message names the file, the field and the value."""

    reason = "BadConfiguration"


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


class ClientConfig(NamedTuple):
    """How to reach one API server. Certificates and keys are PEM; `server` may carry a path prefix, without a slash."""

    server: str
    namespace: str = "default"
    namespace_given: bool = False  # by flag, not only by the context
    context: str = ""
    source: str = ""  # the file the cluster came from; empty: flags or the pod's service account
    ca_data: bytes = b""  # empty: the system's authorities
    client_cert: bytes = b""
    client_key: bytes = b""
    token: str = ""
    token_file: str = ""  # read for every request: kubelet rotates it
    username: str = ""
    password: str = ""
    insecure: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""  # empty: the environment's
    impersonate: str = ""
    impersonate_uid: str = ""
    impersonate_groups: tuple[str, ...] = ()

    @property
    def tls(self) -> bool:
        return self.server.startswith("https://")

    def headers(self) -> list[tuple[str, str]]:
        """Authorization and Impersonate-* of one request. Credentials never travel over plain HTTP."""
        headers: list[tuple[str, str]] = []
        token = _read(self.token_file, "tokenFile").decode().strip() if self.token_file else self.token
        if self.tls and token:
            headers.append(("Authorization", f"Bearer {token}"))
        elif self.tls and self.username:
            pair = binascii.b2a_base64(f"{self.username}:{self.password}".encode(), newline=False).decode()
            headers.append(("Authorization", f"Basic {pair}"))
        if self.impersonate:
            headers.append(("Impersonate-User", self.impersonate))
        if self.impersonate_uid:
            headers.append(("Impersonate-Uid", self.impersonate_uid))
        headers += [("Impersonate-Group", group) for group in self.impersonate_groups]
        return headers

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS settings of this server; None for plain HTTP."""
        if not self.tls:
            return None
        import ssl

        # create_default_context would parse the system's whole bundle even when the cluster brings its own authority.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_data:
            _load_authority(context, self)
        else:
            context.load_default_certs()
        if self.client_cert:
            _load_client_certificate(context, self)
        return context


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
        merged = _Merged()
    elif flags.context == LOCAL_CONTEXT and LOCAL_CONTEXT not in merged.contexts:
        merged = _read_local() or merged
    return _select(merged, flags)


def local_path() -> str:
    """The kubeconfig of this user's one-machine cluster: STATE/kubeconfig of docs/architecture.md."""
    if os.geteuid() == 0:
        return "/var/lib/virtctl/kubeconfig"
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111  pathlib costs 8 ms
    return f"{state}/virtctl/kubeconfig"


class _Entry(NamedTuple):
    """One named cluster, user or context, and the file that says so (relative paths start there)."""

    fields: Json
    source: str


class _Merged:
    """The named entries of all files: the first file to name one wins, as does the first current-context."""

    def __init__(self) -> None:
        self.current = ""
        self.clusters: dict[str, _Entry] = {}
        self.users: dict[str, _Entry] = {}
        self.contexts: dict[str, _Entry] = {}

    def add(self, document: Json, source: str) -> None:
        self.current = self.current or _string(document, "current-context", source)
        for plural, singular, into in (
            ("clusters", "cluster", self.clusters),
            ("users", "user", self.users),
            ("contexts", "context", self.contexts),
        ):
            for position, item in enumerate(_typed(document, plural, list, source)):
                where = f"{plural}[{position}]"
                if not isinstance(item, dict) or not isinstance(item.get("name"), str):
                    raise _bad(source, where, "must be a map with a name", item)
                fields = item.get(singular) or {}
                if not isinstance(fields, dict):
                    raise _bad(source, f"{where}.{singular}", "must be a map", fields)
                into.setdefault(item["name"], _Entry(fields, source))

    @property
    def empty(self) -> bool:
        return not (self.clusters or self.users or self.contexts or self.current)


def _find(flags: Flags) -> _Merged | None:
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
    merged = _Merged()
    for path in dict.fromkeys(filter(None, paths)):
        if os.path.lexists(path):
            merged.add(_parse(_read(path), path), path)
    return None if merged.empty and not flags.kubeconfig else merged


def _read_local() -> _Merged | None:
    path = local_path()
    if not os.path.lexists(path):
        return None
    merged = _Merged()
    merged.add(_parse(_read(path), path), path)
    return merged


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


def _select(merged: _Merged, flags: Flags) -> ClientConfig:
    name = flags.context or merged.current
    context = _Entry({}, "")
    if name:
        if name not in merged.contexts:
            known = ", ".join(sorted(merged.contexts)) or "none"
            raise KubeconfigError(f'context "{name}" does not exist', hint=f"Known contexts: {known}.")
        context = merged.contexts[name]
    elif not flags.server and not flags.cluster:
        known = ", ".join(sorted(merged.contexts)) or "none"
        raise KubeconfigError(
            f"the kubeconfig names no current-context{_files(merged)}",
            hint=f"Choose one with --context; known contexts: {known}.",
        )
    cluster = _entry(merged.clusters, flags.cluster, context, "cluster", "cluster")
    user = _entry(merged.users, flags.user, context, "user", "auth info")
    config = _config(cluster, user, needs_server=not flags.server)
    return _finish(
        config._replace(
            context=name,
            namespace=_string(context.fields, "namespace", context.source) or "default",
            source=cluster.source,
        ),
        flags,
        user,
    )


def _entry(entries: dict[str, _Entry], override: str, context: _Entry, field: str, title: str) -> _Entry:
    """The cluster or user a context names; none named is an empty one."""
    name = override or _string(context.fields, field, context.source)
    if not name:
        return _Entry({}, "")
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        where = f" (named by {context.source})" if context.source and not override else ""
        raise KubeconfigError(f'{title} "{name}" does not exist{where}', hint=f"Known: {known}.")
    return entries[name]


def _config(cluster: _Entry, user: _Entry, *, needs_server: bool) -> ClientConfig:
    fields, source = cluster
    server = _string(fields, "server", source)
    if not server and needs_server:
        raise KubeconfigError(
            f"the cluster has no server address{f' ({source})' if source else ''}",
            hint="Set clusters[].cluster.server, or --server.",
        )
    token_file = _path(user, "tokenFile")
    return ClientConfig(
        server=server,
        ca_data=_blob(cluster, "certificate-authority"),
        insecure=_typed(fields, "insecure-skip-tls-verify", bool, source),
        tls_server_name=_string(fields, "tls-server-name", source),
        proxy_url=_string(fields, "proxy-url", source),
        client_cert=_blob(user, "client-certificate"),
        client_key=_blob(user, "client-key"),
        token=_string(user.fields, "token", user.source),
        token_file=token_file,
        username=_string(user.fields, "username", user.source),
        password=_string(user.fields, "password", user.source),
        impersonate=_string(user.fields, "as", user.source),
        impersonate_uid=_string(user.fields, "as-uid", user.source),
        impersonate_groups=tuple(_typed(user.fields, "as-groups", list, user.source)),
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


def _finish(config: ClientConfig, flags: Flags, user: _Entry | None = None) -> ClientConfig:
    """The flags on top of what the files say, then the credentials of a plugin when nothing else is there."""
    changes: Json = {field: value for field in _PLAIN_FLAGS if (value := getattr(flags, field))}
    if flags.namespace:
        changes.update(namespace=flags.namespace, namespace_given=True)
    if flags.token:
        changes.update(token=flags.token, token_file="")
    if flags.insecure_skip_tls_verify is not None:
        changes["insecure"] = flags.insecure_skip_tls_verify
    if flags.certificate_authority:
        changes["ca_data"] = _read(flags.certificate_authority, "--certificate-authority")
    if flags.client_certificate:
        changes["client_cert"] = _read(flags.client_certificate, "--client-certificate")
    if flags.client_key:
        changes["client_key"] = _read(flags.client_key, "--client-key")
    config = config._replace(**changes)
    config = config._replace(server=_server(config.server))
    if config.insecure and flags.certificate_authority:
        raise KubeconfigError("--certificate-authority and --insecure-skip-tls-verify exclude each other")
    if bool(config.client_cert) != bool(config.client_key):
        missing = "client-key" if config.client_cert else "client-certificate"
        raise KubeconfigError(f"the user has half a client certificate: {missing} is missing{_from(config.source)}")
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


def _load_authority(context: ssl.SSLContext, config: ClientConfig) -> None:
    import ssl

    try:
        context.load_verify_locations(cadata=config.ca_data.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise KubeconfigError(
            f"certificate-authority holds no PEM certificate{_from(config.source)}: {error}",
        ) from error


def _load_client_certificate(context: ssl.SSLContext, config: ClientConfig) -> None:
    """OpenSSL reads the key from a file only."""
    import ssl

    try:
        with _secret_file(config.client_cert + b"\n" + config.client_key) as path:
            context.load_cert_chain(path, password=_refuse_password)
    except (ssl.SSLError, ValueError) as error:
        raise KubeconfigError(
            f"client-certificate and client-key{_from(config.source)} are not a PEM pair: {error}",
        ) from error


@contextlib.contextmanager
def _secret_file(data: bytes) -> Iterator[str]:
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("client-certificate", os.MFD_CLOEXEC), "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        import tempfile

        with tempfile.NamedTemporaryFile() as named:
            named.write(data)
            named.flush()
            yield named.name


def _refuse_password() -> str:
    raise ValueError("the key is encrypted; kubeconfig keys must not be")


def _parse(data: bytes, path: str) -> Json:
    text = data.lstrip()
    try:
        document = json.loads(text) if text.startswith(b"{") else _yaml(text, path)
    except (ValueError, RecursionError) as error:
        raise KubeconfigError(f'error loading config file "{path}": {error}') from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise KubeconfigError(f'error loading config file "{path}": it must be a map, not {_shown(document)}')
    return document


def _yaml(text: bytes, path: str) -> object:
    import yaml

    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are the safe loaders
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise KubeconfigError(
            f'error loading config file "{path}": yaml: {line}{problem}',
            hint="The file must be YAML or JSON as `kubectl config view --raw` prints it.",
        ) from error


def _read(path: str, field: str = "") -> bytes:
    prefix = f"{field}: " if field else ""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            data = file.read(MAX_BYTES + 1)
    except PermissionError as error:
        raise KubeconfigError(
            f'{prefix}error loading config file "{path}": open {path}: permission denied',
            hint=f"Run as the owner of {path}, or name another configuration with --kubeconfig.",
        ) from error
    except OSError as error:
        raise KubeconfigError(f"{prefix}open {path}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:  # a NUL in the path
        raise KubeconfigError(f"{prefix}{path!r} is not a path: {error}") from error
    if len(data) > MAX_BYTES:
        raise KubeconfigError(f"{prefix}{path} is larger than {MAX_BYTES >> 20} MiB")
    return data


def _read_optional(path: str) -> str:
    return _read(path).decode(errors="replace").strip() if os.path.exists(path) else ""  # noqa: PTH110


def _blob(entry: _Entry, field: str) -> bytes:
    """`FIELD-data` (base64) if there, else the file `FIELD` names."""
    data = _string(entry.fields, f"{field}-data", entry.source)
    if data:
        try:
            return binascii.a2b_base64(data.strip(), strict_mode=True)
        except (binascii.Error, ValueError) as error:
            raise KubeconfigError(f"{field}-data is not base64{_from(entry.source)}: {error}") from error
    path = _path(entry, field)
    return _read(path, field) if path else b""


def _path(entry: _Entry, field: str) -> str:
    """A path in a kubeconfig is relative to that file."""
    path = _string(entry.fields, field, entry.source)
    return os.path.join(os.path.dirname(entry.source), path) if path else ""  # noqa: PTH118, PTH120


def _string(fields: Mapping[str, Any], field: str, source: str) -> str:
    value: str = _typed(fields, field, str, source)
    return value


def _typed(fields: Mapping[str, Any], field: str, kind: type, source: str) -> Any:
    value = fields.get(field)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise _bad(source, field, f"must be a {_KIND_NAMES[kind]}", value)
    return value


_KIND_NAMES: dict[type, str] = {str: "string", bool: "boolean", list: "list", dict: "map"}
_SECRET_FIELDS = frozenset({"token", "password", "client-key-data"})


def _bad(source: str, field: str, rule: str, value: object) -> KubeconfigError:
    shown = "" if field in _SECRET_FIELDS else f", not {_shown(value)}"
    return KubeconfigError(f'error loading config file "{source}": {field} {rule}{shown}')


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _from(source: str) -> str:
    return f" ({source})" if source else ""


def _files(merged: _Merged) -> str:
    sources = dict.fromkeys(e.source for table in (merged.contexts, merged.clusters) for e in table.values())
    return f" ({', '.join(sources)})" if sources else ""
