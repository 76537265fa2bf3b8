"""Which proxy the environment asks for, by Go's rules, as kubectl has them.

Called by virtctl's connections and by `virt_kube.http`. Only the variables are read: no ~/.netrc, whose passwords are
for other servers. Standard library only.
"""

from __future__ import annotations

import os

_VARIABLES = {"https": ("HTTPS_PROXY", "https_proxy"), "http": ("HTTP_PROXY", "http_proxy")}


def from_environment(scheme: str, host: str, port: int) -> str:
    """The URL in HTTPS_PROXY or HTTP_PROXY; "" when there is none, when NO_PROXY names the host, and for loopback."""
    upper, lower = _VARIABLES[scheme]
    url = os.environ.get(upper) or os.environ.get(lower) or ""
    if not url or host == "localhost" or host.startswith("127.") or host == "::1":
        return ""
    excluded = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    return "" if any(_matches(rule.strip().lower(), host.lower(), port) for rule in excluded.split(",")) else url


def _matches(rule: str, host: str, port: int) -> bool:
    if not rule:
        return False
    if rule == "*":
        return True
    if "/" in rule:
        return _in_network(host, rule)
    name, _, number = rule.partition(":") if rule.count(":") == 1 else (rule, "", "")
    if number and number != str(port):
        return False
    name = name.removeprefix("*")
    return host == name.removeprefix(".") or host.endswith(name if name.startswith(".") else f".{name}")


def _in_network(host: str, rule: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False
