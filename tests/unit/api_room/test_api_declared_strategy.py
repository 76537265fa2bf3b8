"""A stop and a start leave a VM declared as it was."""

from __future__ import annotations

import pytest

from virt_api.lifecycle import Accept, StartOptions, StopOptions, decide_start, decide_stop
from virt_types import codec, labels
from virt_types.v1 import VirtualMachine


def vm_of(annotations: dict[str, str] | None = None, **spec: object) -> VirtualMachine:
    metadata = {"name": "vm", "namespace": "default", "annotations": annotations or {}}
    return codec.from_builtins({"metadata": metadata, "spec": spec}, VirtualMachine)


@pytest.mark.parametrize("strategy", ["Always", "Once"])
def test_stop_then_start_gives_the_strategy_back(strategy: str) -> None:
    stopped = decide_stop(vm_of(runStrategy=strategy), None, StopOptions())
    assert isinstance(stopped, Accept)
    assert stopped.spec == {"runStrategy": "Halted"}
    started = decide_start(vm_of(stopped.annotations, runStrategy="Halted"), None, StartOptions())
    assert isinstance(started, Accept)
    assert started.spec == {"runStrategy": strategy}
    assert started.annotations == ({labels.STOPPED_STRATEGY: None} if strategy == "Once" else None)


def test_running_and_requests_keep_no_note() -> None:
    for decision in (
        decide_stop(vm_of(running=True), None, StopOptions()),
        decide_start(vm_of(running=False), None, StartOptions()),
        decide_start(vm_of(runStrategy="RerunOnFailure"), None, StartOptions()),
    ):
        assert isinstance(decision, Accept)
        assert decision.annotations is None
