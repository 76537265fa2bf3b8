"""Images that nobody needs go; one that a guest rests on never does."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_handler.images import shelf
from virt_handler.images.shelf import DAY, Limits, Shelved
from virt_handler.images.store import DESCRIPTION, DiskFile, ImageStore, _Description
from virt_handler.volumes import disk_images

NOW = 1_800_000_000.0
LIMITS = Limits(unused=14 * DAY, size=100, spared=3600.0)
HOURS_AGO, WEEK_AGO, MONTH_AGO = NOW - 7200, NOW - 7 * DAY, NOW - 30 * DAY

CASES = [
    ("nothing is too old or too much", [("a", 50, WEEK_AGO), ("b", 50, HOURS_AGO)], (), []),
    ("unused for long", [("a", 1, MONTH_AGO), ("b", 1, WEEK_AGO)], (), ["a"]),
    ("unused for long, but a guest rests on it", [("a", 1, MONTH_AGO)], ("a",), []),
    ("too much: the longest unused first, and no more", [("b", 60, WEEK_AGO), ("a", 60, HOURS_AGO)], (), ["b"]),
    ("too much, but the older is needed", [("a", 60, WEEK_AGO), ("b", 60, HOURS_AGO)], ("a",), ["b"]),
    ("too much, all just asked for", [("a", 90, NOW - 60), ("b", 90, NOW - 10)], (), []),
    ("a clock that was set back", [("a", 200, NOW + DAY)], (), []),
]


@pytest.mark.parametrize(("images", "needed", "gone"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_situation_has_its_victims(
    images: list[tuple[str, int, float]], needed: tuple[str, ...], gone: list[str]
) -> None:
    found = shelf.choose([Shelved(*image) for image in images], needed, NOW, LIMITS)
    assert [image.name for image in found] == gone


shelved = st.builds(Shelved, st.uuids().map(str), st.integers(0, 200), st.floats(NOW - 40 * DAY, NOW).map(round))


@given(images=st.lists(shelved, max_size=12), data=st.data())
def test_what_is_needed_stays_and_the_rest_is_bounded(images: list[Shelved], data: st.DataObject) -> None:
    needed = set(data.draw(st.sets(st.sampled_from([image.name for image in images])))) if images else set()
    gone = shelf.choose(images, needed, NOW, LIMITS)
    assert not {image.name for image in gone} & needed
    assert all(NOW - image.used >= LIMITS.spared for image in gone)
    left = [image for image in images if image not in gone and image.name not in needed]
    removable = [image for image in left if NOW - image.used >= LIMITS.spared]
    assert all(NOW - image.used <= LIMITS.unused for image in removable)
    assert not removable or sum(image.size for image in images) - sum(image.size for image in gone) <= LIMITS.size


class World:
    def __init__(self, root: Path) -> None:
        self.images, self.guests = root / "images", root / "vmis"
        self.images.mkdir()
        self.guests.mkdir()
        self.store = ImageStore(self.images, {}, frozenset())

    def image(self, number: int, used: float = 0.0) -> Path:
        """An image as a pull leaves it, last asked for at `used`; its disk."""
        digest = f"sha256:{number:064x}"
        place = self.images / digest.replace(":", "-")
        place.mkdir()
        disk = place / "disk.img"
        disk.write_bytes(bytes(1 << 20))
        description = _Description(f"image:{number}", digest, DiskFile("disk.img", "raw", 1 << 20))
        (place / DESCRIPTION).write_bytes(msgspec.json.encode(description))
        os.utime(place, (used, used))
        return disk

    def left(self) -> set[str]:
        return {place.name.removeprefix("sha256-").lstrip("0") for place in self.images.iterdir()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_an_image_goes_unless_an_overlay_names_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    guest = world.guests / "uid"
    guest.mkdir()
    await disk_images.create_overlay(guest / "root.qcow2", world.image(1), "raw")
    await disk_images.create_empty(guest / "empty.qcow2", 1 << 20)
    (guest / "serial0.log").write_text("no disk")
    world.image(2)
    world.image(3, time.time() - 60)
    caplog.set_level(logging.INFO, "virt_handler.images")
    world.store.collect(world.guests)
    assert world.left() == {"1", "3"}
    assert [record.getMessage().split(" bytes=")[0][-6:] for record in caplog.records] == ["000002"]
    (guest / "root.qcow2").unlink()
    world.store.collect(world.guests)
    assert world.left() == {"3"}


async def test_an_overlay_that_cannot_be_read_protects_everything(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.image(1)
    guest = world.guests / "uid"
    guest.mkdir()
    (guest / "root.qcow2").symlink_to("/etc/passwd")
    world.store.collect(world.guests)
    assert world.left() == {"1"}
    assert "images not collected" in caplog.text


async def test_an_image_that_is_asked_for_is_young_again(world: World) -> None:
    world.image(1)
    found = await world.store.get(f"a/b@sha256:{1:064x}", policy="Never")
    world.store.collect(world.guests)
    assert found.path.is_file()


async def test_a_tag_is_forgotten_after_its_image(world: World) -> None:
    references = world.images / "refs"
    references.mkdir()
    for number in (1, 2):
        file = references / f"{number}.json"
        file.write_bytes(msgspec.json.encode({"image": "a/b:v1", "digest": f"sha256:{number:064x}"}))
        os.utime(file, (0, 0))
    world.image(1, time.time() - 60)
    world.store.collect(world.guests)
    assert [file.name for file in references.iterdir()] == ["1.json"]
