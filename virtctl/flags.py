"""Flags as kubectl's users type them: anywhere, `--flag v`, `--flag=v`, `-nv`, `--bool=false`, `--` ends them.

The grammar is pflag's, with its error texts. `GLOBAL_FLAGS` are known to every command. Read before typer is imported,
by the fast path too: standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from virt_kube import kubeconfig
from virt_types.durations import seconds
from virtctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["string", "strings", "bool", "int", "duration"]

DEFAULT_VERBOSITY = 2
TRUE_WORDS = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE_WORDS = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class Flag(NamedTuple):
    """One flag; `short` is one letter or empty, `help` one line."""

    name: str
    kind: Kind = "string"
    short: str = ""
    help: str = ""

    @property
    def title(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


GLOBAL_FLAGS = (
    Flag("kubeconfig", help="Path to the kubeconfig file to use."),
    Flag("context", help="The name of the kubeconfig context to use."),
    Flag("cluster", help="The name of the kubeconfig cluster to use."),
    Flag("user", help="The name of the kubeconfig user to use."),
    Flag("namespace", short="n", help="The namespace of this request."),
    Flag("server", short="s", help="The address of the Kubernetes API server."),
    Flag("token", help="Bearer token for authentication to the API server."),
    Flag("username", help="Username for basic authentication to the API server."),
    Flag("password", help="Password for basic authentication to the API server."),
    Flag("as", help="Username to impersonate."),
    Flag("as-uid", help="UID to impersonate."),
    Flag("as-group", "strings", help="Group to impersonate; can be repeated."),
    Flag("certificate-authority", help="Path to a certificate file of the certificate authority."),
    Flag("client-certificate", help="Path to a client certificate file for TLS."),
    Flag("client-key", help="Path to a client key file for TLS."),
    Flag("insecure-skip-tls-verify", "bool", help="Do not check the server's certificate; the connection is insecure."),
    Flag("tls-server-name", help="Name to check the server's certificate against, instead of the host name."),
    Flag("proxy-url", help="Proxy to reach the API server through: http://, https:// or socks5://."),
    Flag("disable-compression", "bool", help="Accepted for kubectl's sake; responses are never compressed."),
    Flag("request-timeout", "duration", help="How long one request may take, such as 1s, 2m, 3h; 0 is no limit."),
    Flag(
        "v", "int", short="v", help="Log level: 6 shows requests, 7 their headers, 8 their bodies. Never credentials."
    ),
    Flag("debug", "bool", help="Show the traceback of an error, and requests as -v 7 does."),
    Flag("help", "bool", short="h", help="Help for the command."),
)


class Settings(NamedTuple):
    """What the global flags ask for. `request_timeout` is in seconds, 0 is no limit, None was not said."""

    connection: kubeconfig.Flags = kubeconfig.Flags()
    request_timeout: float | None = None
    verbosity: int = DEFAULT_VERBOSITY
    debug: bool = False


class Parsed(NamedTuple):
    """Positional words, and the last value of every flag given (all of them for a `strings` flag)."""

    words: list[str]
    values: dict[str, str | list[str]]

    def enabled(self, name: str) -> bool:
        return self.values.get(name) == "true"


def parse(argv: list[str], flags: tuple[Flag, ...]) -> Parsed:
    """Separate flags from words. Raises UsageError with pflag's texts."""
    names = {flag.name: flag for flag in flags}
    shorts = {flag.short: flag for flag in flags if flag.short}
    words: list[str] = []
    values: dict[str, str | list[str]] = {}
    rest = iter(argv)
    for word in rest:
        if word == "--":
            words += rest
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not name or name.startswith("-"):
                raise UsageError(f"bad flag syntax: {word}")
            if name not in names:
                raise UsageError(f"unknown flag: --{name}")
            flag = names[name]
            if not equals:
                value = "true" if flag.kind == "bool" else _next(rest, f"--{name}")
            _store(values, flag, value)
        elif word.startswith("-") and len(word) > 1:
            _short(word, shorts, rest, values)
        else:
            words.append(word)
    return Parsed(words, values)


def _short(word: str, shorts: dict[str, Flag], rest: Iterator[str], values: dict[str, str | list[str]]) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter not in shorts:
            raise UsageError(f"unknown shorthand flag: '{letter}' in {word}")
        flag = shorts[letter]
        if letters.startswith("="):
            _store(values, flag, letters[1:])
            return
        if flag.kind == "bool":
            _store(values, flag, "true")
            continue
        _store(values, flag, letters or _next(rest, f"'{letter}' in {word}"))
        return


def _next(rest: Iterator[str], shown: str) -> str:
    value = next(rest, None)
    if value is None:
        raise UsageError(f"flag needs an argument: {shown}")
    return value


def _store(values: dict[str, str | list[str]], flag: Flag, value: str) -> None:
    problem = _problem(flag.kind, value)
    if problem:
        raise UsageError(f'invalid argument "{value}" for "{flag.title}" flag: {problem}')
    if flag.kind == "strings":
        values[flag.name] = [*values.get(flag.name, ()), value]
    else:
        values[flag.name] = ("true" if value in TRUE_WORDS else "false") if flag.kind == "bool" else value


def _problem(kind: Kind, value: str) -> str:
    """What is wrong with a value, in the words of Go's parsers; empty when it is fine."""
    if kind == "bool" and value not in TRUE_WORDS and value not in FALSE_WORDS:
        return f'strconv.ParseBool: parsing "{value}": invalid syntax'
    if kind == "int" and not (value.removeprefix("-").isdecimal() and value.isascii() and len(value) < 19):
        return f'strconv.ParseInt: parsing "{value}": invalid syntax'
    if kind == "duration" and seconds(value) is None:
        return f'"{value}" is not a duration such as 30s, 5m or 1h30m'
    return ""


def settings(values: dict[str, str | list[str]]) -> Settings:
    """The global flags of a parsed command line."""

    def text(name: str) -> str:
        value = values.get(name, "")
        return value if isinstance(value, str) else ""

    insecure = text("insecure-skip-tls-verify")
    debug = text("debug") == "true"
    return Settings(
        connection=kubeconfig.Flags(
            kubeconfig=text("kubeconfig"),
            context=text("context"),
            cluster=text("cluster"),
            user=text("user"),
            namespace=text("namespace"),
            server=text("server"),
            token=text("token"),
            username=text("username"),
            password=text("password"),
            impersonate=text("as"),
            impersonate_uid=text("as-uid"),
            impersonate_groups=tuple(values.get("as-group", ())),
            certificate_authority=text("certificate-authority"),
            client_certificate=text("client-certificate"),
            client_key=text("client-key"),
            insecure_skip_tls_verify=insecure == "true" if insecure else None,
            tls_server_name=text("tls-server-name"),
            proxy_url=text("proxy-url"),
        ),
        request_timeout=seconds(text("request-timeout")),
        verbosity=max(int(text("v") or DEFAULT_VERBOSITY), 7 if debug else 0),
        debug=debug,
    )
