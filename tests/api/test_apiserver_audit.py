"""The audit log: who did what is there, what they sent is not; it turns over, and never stands in the way."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from virt_kube.admission import UserInfo
from virt_kube.api import NotFound, Resource
from virt_local.apiserver.audit import AuditLog, Entry
from virt_local.apiserver.authn import Authenticator
from virt_local.apiserver.rbac import Attributes
from virt_local.apiserver.server import ApiServer
from virt_local.apiserver.tokens import Tokens
from virt_local.errors import LocalError
from virt_local.store import Store

if TYPE_CHECKING:
    from support.api_server import Api

    from virt_local.pki import Pki

SECRETS = "/api/v1/namespaces/default/secrets"
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
async def audited(tmp_path: Path, certificates: Pki) -> AsyncIterator[tuple[Api, Path]]:
    import ssl

    import aiohttp
    from support.api_server import Api

    tokens, log = tmp_path / "tokens.csv", tmp_path / "audit.log"
    tokens.write_text('admin-token,admin,1,"system:masters"\nalice-token,alice,2,devs\n')
    store = await Store.open(tmp_path / "store.db")
    server = ApiServer(store, authenticator=Authenticator(tokens), audit=AuditLog(log))
    await server.bootstrap([])
    port = await server.start("127.0.0.1", 0, certificates.server_context())
    trust = ssl.create_default_context(cafile=str(certificates.ca))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as client:
        yield Api(f"https://127.0.0.1:{port}", client, server, store), log
    await server.stop()
    await store.close()


async def written(api: Api, log: Path) -> list[dict[str, Any]]:
    """All lines; the server's end writes the last of them."""
    await api.server.stop()
    return lines(log)


async def test_who_did_what_and_how_it_ended(audited: tuple[Api, Path]) -> None:
    api, log = audited
    secret = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}
    await api("POST", SECRETS, secret, User_Agent="me/1")
    await api("GET", f"{SECRETS}/s", Authorization="Bearer alice-token")
    await api("GET", f"{SECRETS}/s", Impersonate_User="bob")
    await api("GET", f"{SECRETS}/none")
    await api("GET", "/version", Authorization="")
    await api("GET", SECRETS, Authorization="Bearer wrong")
    await api("POST", SECRETS, {"metadata": {"name": "t"}, "data": {"k": "hunter2!"}})
    made, refused, disguised, missing, open_to_all, nobody, invalid = await written(api, log)
    assert made["user"] == {"username": "admin", "uid": "1", "groups": ["system:masters", "system:authenticated"]}
    assert (made["verb"], made["stage"], made["level"], made["userAgent"]) == (
        "create",
        "ResponseComplete",
        "Metadata",
        "me/1",
    )
    assert made["objectRef"] == {"resource": "secrets", "namespace": "default", "apiVersion": "v1"}
    assert made["responseStatus"] == {"metadata": {}, "code": 201}
    assert made["sourceIPs"] == ["127.0.0.1"]
    assert made["requestReceivedTimestamp"] <= made["stageTimestamp"]
    assert refused["annotations"] == {"authorization.k8s.io/decision": "forbid"}
    assert refused["responseStatus"]["reason"] == "Forbidden"
    assert disguised["user"]["username"] == "admin"
    assert disguised["impersonatedUser"]["username"] == "bob"
    assert missing["responseStatus"]["code"] == 404
    assert (open_to_all["user"]["username"], open_to_all["verb"]) == ("system:anonymous", "get")
    assert nobody["responseStatus"]["code"] == 401
    assert nobody["user"] == {}
    assert invalid["responseStatus"] == {"metadata": {}, "status": "Failure", "reason": "BadRequest", "code": 400}
    assert "hunter2" not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


async def test_a_watch_has_a_begin_and_an_end(audited: tuple[Api, Path]) -> None:
    api, log = audited
    await api("GET", f"{SECRETS}?watch=1&timeoutSeconds=1")
    begin, end = await written(api, log)
    assert (begin["stage"], end["stage"]) == ("ResponseStarted", "ResponseComplete")
    assert begin["auditID"] == end["auditID"]


async def test_what_components_write_is_there_too(audited: tuple[Api, Path]) -> None:
    api, log = audited
    client = api.server.client(UserInfo("system:serviceaccount:x:y", ("system:masters",)))
    await client.create(CONFIG_MAPS, "default", {"metadata": {"name": "c"}})
    with pytest.raises(NotFound):
        await client.delete(CONFIG_MAPS, "default", "none")
    made, missing = await written(api, log)
    assert (made["verb"], made["user"]["username"], made["responseStatus"]["code"]) == (
        "create",
        "system:serviceaccount:x:y",
        201,
    )
    assert (missing["verb"], missing["responseStatus"]["code"]) == ("delete", 404)


def entry(name: str = "x") -> Entry:
    found = Entry(f"/{name}", "get")
    found.user = UserInfo("u")
    found.about = Attributes("get", path=f"/{name}")
    return found


def settle(log: AuditLog) -> None:
    """Until the thread has written all; it takes what has gathered at once, so one line at a time is given here."""
    deadline = time.monotonic() + 10
    while not log._queue.empty() and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.01)


def test_a_full_file_is_moved_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "a.log", max_bytes=1_000, kept=2)
    for number in range(20):
        log.record(entry(f"n{number}"), 200)
        settle(log)
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2"]
    kept = [line["requestURI"] for name in ("a.log.2", "a.log.1", "a.log") for line in lines(tmp_path / name)]
    assert kept == [f"/n{number}" for number in range(20 - len(kept), 20)], "in order, and the newest"


def test_a_file_moved_by_somebody_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    log = AuditLog(path)
    log.record(entry("first"), 200)
    settle(log)
    path.rename(tmp_path / "rotated")
    log.record(entry("second"), 200)
    log.close()
    assert [line["requestURI"] for line in lines(path)] == ["/second"]


def test_a_disk_that_is_full_costs_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path / "a.log")

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(os, "write", full)
        log.record(entry("lost"), 200)
        settle(log)
    log.record(entry("kept"), 200)
    log.close()
    assert [line["requestURI"] for line in lines(tmp_path / "a.log")] == ["/kept"]
    assert log._lost == 1


def test_a_path_that_can_not_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"a\.log can.t be written: No such file"):
        AuditLog(tmp_path / "nowhere" / "a.log")


@pytest.mark.parametrize("agent", ["\udcff\udcfe", "\x80", "kubectl \udc80"])
def test_nobody_hides_behind_bytes_that_are_no_text(agent: str, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    entry = Entry(f"/api/v1/configmaps?x={agent}", "create", agent=agent)
    entry.user = UserInfo("mallory", ())
    log.record(entry, 201)
    log.close()
    (line,) = lines(tmp_path / "audit.log")
    assert (line["user"]["username"], line["userAgent"]) == ("mallory", agent)


async def test_a_token_of_odd_bytes_is_nobodys(audited: tuple[Api, Path]) -> None:
    api, log = audited
    authenticator = Authenticator(None, tokens=Tokens(api.store, log.with_name("tokens.key")))
    for secret in ("\udcff\udcfe", "\x80.b.c", "a.\udcff.c"):
        assert authenticator.by_token(secret) is None
