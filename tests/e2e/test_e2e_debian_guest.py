"""A guest with Debian's own cloud-init, sshd and agent: the documents' testvmi-nocloud, in the order a user meets it.

One boot serves all tests but the last two, which end the guest; they are therefore at the end of the file.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pexpect
import pytest

from examples.demo import image
from tests.e2e.e2e_cluster import EXAMPLES, NAMESPACE, VIRTCTL, Cluster, eventually
from tests.guests import debian

NAME = "testvmi-nocloud"
IMAGE = "kubevirt/fedora-cloud-container-disk-demo:latest"
USER, PASSWORD = "debian", "fedora"  # Debian's default user, the document's password
SHELL_PROMPT = r":~\$ "
PORT = 27017  # the document's
SUBRESOURCES = f"/apis/subresources.kubevirt.io/v1/namespaces/{NAMESPACE}/virtualmachineinstances"

pytestmark = [pytest.mark.guest, pytest.mark.libvirt, pytest.mark.slow, pytest.mark.kubectl]


@pytest.fixture(scope="module")
def vmi(cluster: Cluster) -> Iterator[str]:
    image.add(cluster.work / "images", IMAGE, debian.build())
    cluster.virtctl("apply", "-f", str(EXAMPLES / "testvmi-nocloud.yaml"))
    cluster.wait_phase(NAME, "Running", within=60)
    yield NAME
    cluster.kubectl("delete", "vmi", NAME, "--ignore-not-found", "--wait=true", timeout=120)


def console(cluster: Cluster) -> pexpect.spawn[str]:
    return pexpect.spawn(
        VIRTCTL, ["console", NAME], env=cluster.environment, encoding="utf-8", codec_errors="replace", timeout=120
    )


def log_in(session: pexpect.spawn[str]) -> None:
    session.sendline()
    session.expect("login: ")
    # The prompt comes before cloud-init has set the password.
    for _ in range(20):
        session.sendline(USER)
        session.expect("assword: ")
        session.sendline(PASSWORD)
        if session.expect([SHELL_PROMPT, "Login incorrect"], timeout=60) == 0:
            return
        session.expect("login: ")
    pytest.fail("the password of the user data never logged in")


def command(session: pexpect.spawn[str], line: str) -> str:
    """What `line` prints in the guest's shell."""
    session.sendline(f"{line}; echo __$?__")
    session.expect(r"\r\n__(\d+)__\r\n")
    output = str(session.before)
    session.expect(SHELL_PROMPT)
    return output


def ssh(cluster: Cluster, remote: str) -> str:
    """What `remote` prints when run over ssh through the exposed port; waits for a guest that is still booting."""
    address = cluster.get("service", "guest-ssh")["spec"]["clusterIP"]
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=30", "LogLevel=ERROR")
    arguments = [*(word for option in options for word in ("-o", option)), "-p", str(PORT), f"{USER}@{address}", remote]
    deadline = time.monotonic() + 180
    while True:
        session = pexpect.spawn("ssh", arguments, encoding="utf-8", timeout=60)
        if session.expect(["assword: ", pexpect.EOF]) == 0:
            break
        assert time.monotonic() < deadline, f"no sshd behind {address}:{PORT}: {session.before}"
        time.sleep(2)
    session.sendline(PASSWORD)
    session.expect(pexpect.EOF)
    return str(session.before)


def test_password_of_the_user_data_logs_in_through_the_console(cluster: Cluster, vmi: str) -> None:
    session = console(cluster)
    log_in(session)
    assert NAME in command(session, "hostname")
    assert "2G" in command(session, "lsblk --nodeps --noheadings --output SIZE"), "the 2Gi empty disk"
    session.send("\x1d")
    session.expect(pexpect.EOF)
    session.close()
    assert session.exitstatus == 0


def test_guest_agent_tells_system_and_addresses(cluster: Cluster, vmi: str) -> None:
    def connected() -> dict[str, str] | None:
        status = (cluster.get("vmi", vmi) or {"status": {}})["status"]
        conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
        return status.get("guestOSInfo") if conditions.get("AgentConnected") == "True" else None

    system = eventually(connected, within=60, what="AgentConnected and guestOSInfo")
    assert system["id"] == "debian"
    [interface] = cluster.get("vmi", vmi)["status"]["interfaces"]
    assert interface["ipAddress"]


def ask(cluster: Cluster, vmi: str, verb: str) -> dict[str, Any]:
    """What the guest's agent answers through the subresource API."""
    return dict(json.loads(cluster.kubectl("get", "--raw", f"{SUBRESOURCES}/{vmi}/{verb}").stdout))


def put(cluster: Cluster, vmi: str, verb: str, body: str = "{}") -> None:
    path = f"{SUBRESOURCES}/{vmi}/{verb}"
    cluster.kubectl("replace", "--raw", path, "-f", "-", stdin=body)


def test_guest_agent_lists_file_systems_and_users(cluster: Cluster, vmi: str) -> None:
    info = ask(cluster, vmi, "guestosinfo")
    assert info["os"]["id"] == "debian"
    assert {"guest-ping", "guest-fsfreeze-freeze"} <= {each["name"] for each in info["supportedCommands"]}
    [root] = [each for each in ask(cluster, vmi, "filesystemlist")["items"] if each["mountPoint"] == "/"]
    assert root["fileSystemType"] == "ext4"
    assert 0 < root["usedBytes"] < root["totalBytes"]
    assert ask(cluster, vmi, "userlist")["metadata"] == {}


def test_a_frozen_guest_thaws_by_itself(cluster: Cluster, vmi: str) -> None:
    def frozen() -> str:
        return str(cluster.get("vmi", vmi)["status"].get("fsFreezeStatus", "no"))

    put(cluster, vmi, "freeze", '{"unfreezeTimeout": "8s"}')
    eventually(lambda: frozen() == "frozen", within=10, what="fsFreezeStatus")
    eventually(lambda: frozen() == "no", within=30, what="the guest to thaw")
    put(cluster, vmi, "freeze")
    eventually(lambda: frozen() == "frozen", within=10, what="fsFreezeStatus")
    put(cluster, vmi, "unfreeze")
    eventually(lambda: frozen() == "no", within=10, what="the guest to thaw")


def test_ssh_reaches_the_guest_through_a_service(cluster: Cluster, vmi: str) -> None:
    exposed = cluster.virtctl(
        "expose", "virtualmachineinstance", vmi, "--name", "guest-ssh", "--port", str(PORT), "--target-port", "22"
    )
    assert exposed.stdout == f"Service guest-ssh successfully created for virtualmachineinstance {vmi}\n"
    assert NAME in ssh(cluster, "hostname")


def test_reboot_from_inside_keeps_the_instance(cluster: Cluster, vmi: str) -> None:
    before = cluster.get("vmi", vmi)
    boot = ssh(cluster, "cat /proc/sys/kernel/random/boot_id")
    ssh(cluster, "sudo systemctl --no-block reboot")
    session = console(cluster)
    seen, deadline = "", time.monotonic() + 180
    while not re.search(r"Linux version.*login: ", seen, re.DOTALL):
        assert cluster.phase(vmi) == "Running"
        assert time.monotonic() < deadline, f"no second boot on the console:\n{seen[-3000:]}"
        if session.expect([r".+", pexpect.TIMEOUT], timeout=1) == 0:
            seen += str(session.after)
    session.send("\x1d")
    session.close()
    assert boot != ssh(cluster, "cat /proc/sys/kernel/random/boot_id")
    after = cluster.get("vmi", vmi)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["phaseTransitionTimestamps"] == before["status"]["phaseTransitionTimestamps"]


def test_shutdown_from_inside_ends_as_succeeded(cluster: Cluster, vmi: str) -> None:
    ssh(cluster, "sudo systemctl --no-block poweroff")
    cluster.wait_phase(vmi, "Succeeded", within=60)
    assert "Stopped" in cluster.reasons(vmi)
    conditions = {each["type"]: each for each in cluster.get("vmi", vmi)["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "False"
