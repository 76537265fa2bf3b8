"""Times, durations, base64, addresses: what an API server takes as such, and what our readers make of it."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_types.durations import seconds
from virt_types.formats import FORMATS

OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))


@given(st.datetimes(timezones=OFFSETS | st.just(datetime.UTC)))
def test_times_as_python_writes_them(moment: datetime.datetime) -> None:
    assert FORMATS["date-time"](moment.isoformat())
    assert FORMATS["date-time"](moment.isoformat(timespec="seconds").replace("+00:00", "Z"))
    assert not FORMATS["date-time"](moment.replace(tzinfo=None).isoformat()), "a time needs its zone"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("2026-01-31T12:00:00Z", True),
        ("2026-01-31t12:00:00.123456789z", True),
        ("2016-12-31T23:59:60Z", True),  # a leap second
        ("2026-02-30T12:00:00Z", False),
        ("2026-01-31T24:00:00Z", False),
        ("2026-01-31 12:00:00Z", False),
        ("2026-01-31T12:00:00", False),
        ("2026-01-31T12:00Z", False),
        ("٢٠٢٦-01-31T12:00:00Z", False),
        ("", False),
    ],
)
def test_times(text: str, good: bool) -> None:
    assert FORMATS["date-time"](text) is good


@given(st.binary(max_size=64))
def test_base64(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert FORMATS["byte"](text)
    assert not FORMATS["byte"](text + "!")
    assert len(text) < 2 or text.endswith("=") or not FORMATS["byte"](text[:-1])


@given(
    st.lists(
        st.tuples(st.integers(0, 999_999), st.sampled_from(["ns", "us", "µs", "ms", "s", "m", "h"])),
        min_size=1,
        max_size=4,
    )
)
def test_durations_add_up(parts: list[tuple[int, str]]) -> None:
    unit = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
    text = "".join(f"{count}{name}" for count, name in parts)
    assert FORMATS["duration"](text)
    assert seconds(text) == pytest.approx(sum(count * unit[name] for count, name in parts))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1h30m", 5400), ("1.5h", 5400), ("500ms", 0.5), ("90", 90), ("", None), ("1d", None), ("-5s", None),
        ("5 s", None), ("1h30", None), ("s", None), ("1" * 400 + "s", None),
    ],
)  # fmt: skip
def test_durations(text: str, value: float | None) -> None:
    assert seconds(text) == value


@given(st.text(max_size=20))
def test_any_text_is_a_value_or_is_none(text: str) -> None:
    for name, check in FORMATS.items():
        assert check(text) in (True, False), name
    assert (found := seconds(text)) is None or found >= 0


@given(st.uuids(), st.ip_addresses(v=4), st.ip_addresses(v=6))
def test_identities_and_addresses(identity: uuid.UUID, four: ipaddress.IPv4Address, six: ipaddress.IPv6Address) -> None:
    assert FORMATS["uuid"](str(identity))
    assert not FORMATS["uuid"](str(identity)[:-1])
    assert (FORMATS["ipv4"](str(four)), FORMATS["ipv4"](str(six))) == (True, False)
    assert (FORMATS["ipv6"](str(six)), FORMATS["ipv6"](str(four))) == (True, False)
    assert FORMATS["cidr"](f"{four}/24")
    assert not FORMATS["cidr"](f"{four}/33")
