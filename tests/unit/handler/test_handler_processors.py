"""Processors that a guest has for itself: read from libvirt, given out once, whole cores and one cell first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_handler.errors import ProcessorsTaken
from virt_handler.host import read_cells
from virt_handler.model import NumaCell
from virt_handler.processors import allot

TOPOLOGY = """<capabilities><host><topology><cells num='2'>
  <cell id='0'><distances><sibling id='0' value='10'/><sibling id='1' value='21'/></distances>
    <cpus num='4'><cpu id='0' siblings='0,4'/><cpu id='1' siblings='1,5'/><cpu id='4' siblings='0,4'/>
      <cpu id='5' siblings='1,5'/></cpus></cell>
  <cell id='1'><distances/><cpus num='5'><cpu id='2' siblings='2-3'/><cpu id='3' siblings='2-3'/>
      <cpu id='6' siblings='6-7'/><cpu id='7' siblings='6-7'/><cpu id='8'/></cpus></cell>
</cells></topology></host></capabilities>"""
CELLS = read_cells(TOPOLOGY)


def test_a_topology_is_read_by_core() -> None:
    first, second = CELLS
    assert first == NumaCell(0, ((0, 4), (1, 5)), ((0, 10), (1, 21)))
    assert second == NumaCell(1, ((2, 3), (6, 7)))


@pytest.mark.parametrize(
    ("wanted", "taken", "given_"),
    [
        (0, (), ()),
        (2, (), (1, 5)),  # the smallest cell that has room; its first core is the machine's
        (3, (), (2, 3, 6)),
        (2, (1,), (2, 3)),  # rather a whole core of the other cell than two halves
        (2, (1, 2), (6, 7)),
        (1, (2,), (1,)),
        (5, (), (2, 3, 6, 7, 1)),  # no cell has room: the larger first
    ],
)
def test_whole_cores_and_one_cell_come_first(wanted: int, taken: tuple[int, ...], given_: tuple[int, ...]) -> None:
    assert allot(CELLS, wanted, taken, "n") == given_


def test_too_many_are_refused_with_what_is_left() -> None:
    with pytest.raises(ProcessorsTaken, match=r"dedicatedCpuPlacement: 6 processors wanted, node n has 5 that"):
        allot(CELLS, 6, (1,), "n")
    with pytest.raises(ProcessorsTaken, match="has 0"):
        allot((), 1, (), "n")


@given(st.lists(st.integers(0, 4), max_size=6))
def test_nobody_gets_what_another_has(wishes: list[int]) -> None:
    taken: list[int] = []
    for wanted in wishes:
        try:
            taken += allot(CELLS, wanted, taken, "n")
        except ProcessorsTaken:
            assert len(taken) + wanted > 6
    assert len(taken) == len(set(taken))
    assert not {0, 4} & set(taken)
