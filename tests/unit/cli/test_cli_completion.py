"""Shell completion: what is offered, and the bash script in a real bash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_fake_api import FakeApi
from cli_program import Run

ROOT = Path(__file__).parents[3]
VM = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines"
VMI = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
SHIM = """#!/bin/sh
cd {root} && exec {python} -c '
import sys; from virtctl.__main__ import main
sys.argv[0] = "{name}"; sys.exit(main())' "$@"
"""


def items(*names: str) -> dict[str, object]:
    return {"items": [{"metadata": {"name": name}} for name in names]}


@pytest.fixture
def machines(api: FakeApi, kube: Path) -> FakeApi:
    api.on("GET", VM, (200, items("web", "db")))
    api.on("GET", VMI, (200, items("web")))
    api.on("GET", "/api/v1/namespaces", (200, items("default", "prod")))
    sizes = "/apis/instancetype.kubevirt.io/v1beta1/namespaces/default/virtualmachineinstancetypes"
    api.on("GET", sizes, (200, items("small")))
    return api


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], ["start", "stop", ":4"]),
        (["start", ""], ["db", "web", ":4"]),
        (["start", "db", ""], ["web", ":4"]),
        (["start", "w"], ["web", ":4"]),
        (["start", "--wa"], ["--wait", ":4"]),
        (["console", ""], ["web", ":4"]),
        (["vnc", ""], ["screenshot", "web", ":4"]),
        (["vnc", "screenshot", "w"], ["web", ":4"]),
        (["expose", ""], ["vm", "vmi", ":4"]),
        (["delete", "vmcl"], ["vmclusterinstancetype", ":4"]),
        (["expose", "vm", ""], ["db", "web", ":4"]),
        (["delete", "vmi", ""], ["web", ":4"]),
        (["delete", "vmf", ""], ["small", ":4"]),
        (["start", "-n", ""], ["default", "prod", ":4"]),
        (["apply", "-f", ""], [":0"]),
        (["--kubeconfig", ""], [":0"]),
        (["list", "-o", "j"], ["json", ":4"]),
        (["completion", ""], ["bash", "fish", "zsh", ":4"]),
        (["nonsense", ""], [":4"]),
        (["start", "--nonsense", ""], [":4"]),
    ],
)
def test_candidates(machines: FakeApi, virtctl: Run, words: list[str], expected: list[str]) -> None:
    result = virtctl("__completeNoDesc", *words)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == expected


def test_descriptions(virtctl: Run) -> None:
    assert virtctl("__complete", "sto").out == "stop\tStop virtual machines.\n:4\n"


def test_dead_server_offers_nothing_and_says_nothing(virtctl: Run) -> None:
    assert virtctl("__complete", "--server=http://127.0.0.1:1", "start", "") == (0, ":4\n", "")


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
@pytest.mark.parametrize(("name", "prog"), [("virtctl", "virtctl"), ("kubectl-virt", "/usr/bin/kubectl-virt")])
def test_bash_script(machines: FakeApi, virtctl: Run, tmp_path: Path, name: str, prog: str) -> None:
    shim = tmp_path / name
    shim.write_text(SHIM.format(root=ROOT, python=sys.executable, name=name))
    shim.chmod(0o755)
    script = virtctl("completion", "bash", prog=prog).out
    assert "complete -F" in script
    assert " kubectl\n" not in script, "kubectl's own completion would be replaced"
    ask = f"""{script}
        PATH={tmp_path}:$PATH
        ask() {{
            COMP_LINE="$1"; COMP_POINT=${{#COMP_LINE}}; read -r -a COMP_WORDS <<< "$1"
            [[ "$1" == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
            $(complete -p {name} | sed 's/.*-F \\([^ ]*\\).*/\\1/'); echo "${{COMPREPLY[*]}}"
        }}
        ask "{name} st"; ask "{name} start "; ask "{name} start --pau"; ask "{name} apply -f {tmp_path}/{name[:-1]}"
    """
    done = subprocess.run(["bash", "--norc", "-c", ask], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["start stop", "db web", "--paused", str(shim)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "kubectl"])
def test_scripts_parse(virtctl: Run, shell: str, tmp_path: Path) -> None:
    program = shutil.which("sh" if shell == "kubectl" else shell)
    script = virtctl("completion", shell).out
    assert "@" not in script.replace("[@]", "").replace("(@", "").replace('"$@"', "")
    if program is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(script)
    subprocess.run([program, "-n", str(tmp_path / "script")], check=True)


def test_unknown_shell(virtctl: Run) -> None:
    assert virtctl("completion", "tcsh").err == 'unsupported shell "tcsh"\nOne of bash, zsh, fish, kubectl.\n'
