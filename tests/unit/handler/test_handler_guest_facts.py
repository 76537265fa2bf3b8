"""A guest's agent may say anything: what comes out is bounded, printable and of the right types."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_handler import guest_facts
from virt_handler.errors import GuestAgentError
from virt_handler.guest_agent import GuestAgent
from virt_handler.guest_facts import agent_info, file_system_list, reachable, read_guest_facts, unsupported, user_list

TOLD = {
    "os.name": "Debian GNU/Linux",
    "hostname": "vm",
    "timezone.name": "CET",
    "timezone.offset": 3600,
    "user.count": 1,
    "user.0.name": "jane",
    "user.0.domain": "CORP",
    "user.0.login-time": 1_700_000_000_500,
    "fs.count": 1,
    "fs.0.name": "vda1",
    "fs.0.mountpoint": "/",
    "fs.0.fstype": "ext4",
    "fs.0.used-bytes": 1,
    "fs.0.total-bytes": 2,
    "fs.0.disk.count": 1,
    "fs.0.disk.0.serial": "S-1",
}
SELF = {
    "version": "7.2.0",
    "supported_commands": [{"name": "guest-ping", "enabled": True}, {"name": "guest-exec", "enabled": False}],
}


def test_the_documents_that_clients_read() -> None:
    facts = read_guest_facts(TOLD, SELF)
    system = {"diskName": "vda1", "mountPoint": "/", "fileSystemType": "ext4", "usedBytes": 1, "totalBytes": 2}
    system["disk"] = [{"serial": "S-1"}]
    user = {"userName": "jane", "domain": "CORP", "loginTime": 1_700_000_000.5}
    assert file_system_list(facts) == {"metadata": {}, "items": [system]}
    assert user_list(facts) == {"metadata": {}, "items": [user]}
    assert agent_info(facts, "frozen") == {
        "guestAgentVersion": "7.2.0",
        "supportedCommands": [{"name": "guest-ping", "enabled": True}],
        "hostname": "vm",
        "os": {"name": "Debian GNU/Linux"},
        "timezone": "CET, 3600",
        "userList": [user],
        "fsInfo": {"disks": [system]},
        "fsFreezeStatus": "frozen",
    }


def test_an_agent_that_can_too_little_is_named() -> None:
    assert "7.2.0 does not support guest-info, " in unsupported(read_guest_facts({}, SELF))
    assert unsupported(read_guest_facts({})) == ""


KEYS = st.sampled_from([*TOLD, "if.count", "if.0.hwaddr", "if.0.addr.count", "if.0.addr.0.addr", "fs.0.disk.count"])
VALUES = st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.text(), max_size=2))
AGENT = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@given(st.dictionaries(KEYS, VALUES), AGENT)
def test_lies_do_no_harm(told: dict[str, Any], agent: Any) -> None:
    claims = agent if isinstance(agent, dict) else {"supported_commands": agent, "version": agent}
    facts = read_guest_facts(told, claims)
    text = json.dumps([agent_info(facts), user_list(facts), file_system_list(facts)])
    assert len(text) < 100_000
    assert not [char for char in facts.hostname + facts.version if not char.isprintable()]


def test_a_guest_without_end_is_cut() -> None:
    huge = {"user.count": 10**9, "fs.count": 10**9, "if.count": 10**9} | {
        f"user.{number}.name": "x" * 10_000 for number in range(1000)
    }
    facts = read_guest_facts(huge, {"supported_commands": [{"name": f"c{n}", "enabled": True} for n in range(10**4)]})
    sizes = len(facts.users), len(facts.file_systems), len(facts.nics), len(facts.commands)
    assert sizes == (
        guest_facts.MAX_USERS,
        guest_facts.MAX_FILE_SYSTEMS,
        guest_facts.MAX_NICS,
        guest_facts.MAX_COMMANDS,
    )
    assert max(len(user.name) for user in facts.users) == guest_facts.MAX_TEXT


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("10.0.2.15", True),
        ("fe80::1", True),
        ("2001:db8::1", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104  what a guest may claim
        ("localhost", False),
        ("", False),
    ],
)
def test_no_address_of_a_guest_leads_to_the_machine(address: str, *, may: bool) -> None:
    assert reachable(address) is may


class Libvirt:
    """Answers as the guest would, and counts how many are spoken to at once."""

    def __init__(self, reply: str = "") -> None:
        self.reply = reply
        self.now = self.most = self.calls = 0

    async def on_domain(self, uuid: str, doing: str, function: Callable[[Any], Any], *, deadline: float) -> Any:
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        return self.reply if "for guest-" in doing else {}


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("{", "something else than its answer"),
        ("[1]", "something else than its answer"),
        ('{"error": {}}', "something else than its answer"),
        ("[" * 100_000, "something else than its answer"),
        ('{"return": "' + "x" * (1 << 20) + '"}', "with more than"),
    ],
)
async def test_an_answer_that_is_none(reply: str, why: str) -> None:
    agent = GuestAgent(Libvirt(reply))  # type: ignore[arg-type]  stands in for libvirt
    with pytest.raises(GuestAgentError, match=why):
        await agent.ping("uuid")


async def test_whoever_asks_at_once_gets_one_answer_and_few_guests_are_asked_at_once() -> None:
    libvirt = Libvirt('{"return": {"version": "1"}}')
    agent = GuestAgent(libvirt)  # type: ignore[arg-type]  stands in for libvirt
    found = await asyncio.gather(*(agent.facts(f"guest{number % 10}") for number in range(100)))
    assert {facts.version for facts in found} == {"1"}
    assert libvirt.calls == 20  # ten guests, two questions each
    assert libvirt.most == 3
