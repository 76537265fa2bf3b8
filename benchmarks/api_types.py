"""What admission costs: the API's types decoded, defaulted, validated, encoded, beside the standard library's JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import measure
from benchmarks.measure import Amount, Ratio
from virt_types.codec import decode, encode
from virt_types.defaults import default_vmi
from virt_types.v1 import VirtualMachineInstance
from virt_types.validation import validate_vmi

UUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"
WANTED_BYTES = 6 * 1024
CALLS = 200  # per round: a call is far shorter than the clock's jitter
IMPORTS = "import virt_types.v1, virt_types.codec"


def results(rounds: int) -> list[Ratio | Amount]:
    """The three promises of the types."""
    data = instance()
    return [whole(data, rounds), decoding(data, rounds), importing(rounds)]


def whole(data: bytes, rounds: int) -> Amount:
    def admit() -> None:
        vmi = decode(data, VirtualMachineInstance)
        default_vmi(vmi, new_uuid=lambda: UUID)
        causes = validate_vmi(vmi)
        assert not causes, causes
        encode(vmi)

    took = statistics.median(_per_call(admit) for _ in range(rounds))
    return Amount(f"decode, default, validate and encode a VMI of {len(data)} bytes", took * 1e6, "µs", 400)


def decoding(data: bytes, rounds: int) -> Ratio:
    return measure.compare(
        "decode a VMI, over `json.loads` of the same bytes",
        ours=lambda: _per_call(lambda: decode(data, VirtualMachineInstance)),
        peer=lambda: _per_call(lambda: json.loads(data)),
        rounds=rounds,
        limit=2.0,
    )


def importing(rounds: int) -> Amount:
    """Interpreters with and without the types in turn; the fastest of each: only other work makes one slower."""
    env = measure.environment()

    def start(code: str) -> float:
        return measure.seconds(lambda: measure.run([sys.executable, "-c", code], env=env))

    start(IMPORTS), start("pass")
    pairs = [(start(IMPORTS), start("pass")) for _ in range(rounds * 2)]
    took = min(pair[0] for pair in pairs) - min(pair[1] for pair in pairs)
    return Amount("importing the types, over a bare interpreter", took * 1000, "ms", 40)


def _per_call(action: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    for _ in range(CALLS):
        action()
    return (time.perf_counter() - begin) / CALLS


def instance() -> bytes:
    """An instance as large machines have them: many disks, four networks, EFI, Hyper-V, cloud-init."""
    disks, volumes = [], []
    for number in range(14):
        name = f"disk{number}"
        disks.append({"name": name, "disk": {"bus": "virtio"}, "serial": f"S{number}", "bootOrder": number + 1})
        claim = {"claimName": f"claim-number-{number}"}
        image = {"image": f"registry.example.org/images/disk-{number}:1.0"}
        volumes.append({"name": name} | ({"persistentVolumeClaim": claim} if number % 2 else {"containerDisk": image}))
    devices = {"disks": disks, "interfaces": [_interface(number) for number in range(4)], "rng": {}}
    networks = [{"name": "net0", "pod": {}}]
    networks += [{"name": f"net{n}", "multus": {"networkName": f"ns/net{n}"}} for n in range(1, 4)]
    domain = {
        "cpu": {"cores": 4, "sockets": 2, "features": [{"name": "vmx", "policy": "require"}]},
        "memory": {"guest": "8Gi"},
        "resources": {"requests": {"memory": "8Gi", "cpu": "8"}},
        "features": {"acpi": {}, "smm": {"enabled": True}, "hyperv": {"relaxed": {}, "spinlocks": {"spinlocks": 8191}}},
        "firmware": {"bootloader": {"efi": {}}},
        "clock": {"utc": {}, "timer": {"hpet": {"present": False}, "rtc": {"tickPolicy": "catchup"}}},
        "devices": devices,
    }
    obj: dict[str, Any] = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "big", "labels": {f"example.org/label{n}": f"value{n}" for n in range(8)}},
        "spec": {"domain": domain, "networks": networks, "volumes": volumes},
    }
    volumes.append({"name": "cloudinit", "cloudInitNoCloud": {"userData": "#cloud-config\n" + "#" * 1500}})
    annotations = {"example.org/notes": ""}
    obj["metadata"] |= {"annotations": annotations}
    annotations["example.org/notes"] = "x" * (WANTED_BYTES - len(encode(obj)))
    return encode(obj)


def _interface(number: int) -> dict[str, Any]:
    ports = [{"name": f"p{port}", "port": 8000 + port} for port in range(3)]
    binding: dict[str, Any] = {"bridge": {}} if number else {"masquerade": {}, "ports": ports}
    return {"name": f"net{number}", "model": "virtio", "macAddress": f"52:54:00:00:00:0{number}"} | binding


if __name__ == "__main__":
    from benchmarks.__main__ import table

    measured = results(rounds=15)
    print(table(measured))
    sys.exit(0 if all(result.met for result in measured) else 1)
