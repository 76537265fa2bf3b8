"""Strange input for everything that reads what users send: an answer or one of our errors, in bounded time and memory.

A few hundred cases in every test run; `nox -s fuzz` goes on for FUZZ_SECONDS per target, with other cases each time.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from virt_types import labels, quantity, selectors
from virt_types.check import judge
from virt_types.codec import decode, encode
from virt_types.crds import TYPES
from virt_types.errors import Cause, VirtError
from virt_types.kinds import KINDS
from virt_types.legacy import convert
from virt_types.manifest import load

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
# What one case may take on a machine that has other things to do, and what all of them may keep.
CASE_SECONDS = 5.0
MEMORY = 1 << 30
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
UUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"
NOW = "2026-01-01T00:00:00Z"

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["1Gi", "-1", "1e30", "0", "a/b", "..", "/", "virtio", "52:54:00:00:00:01", "\x00", "é" * 300])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{c}: &{c} [{','.join([f'*{p}'] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
)
PIECES = (
    "\n",
    "---\n",
    "- ",
    ": ",
    "{",
    "[",
    "&a ",
    "*a",
    "!!python/object:os.system ",
    "\t",
    "#",
    "|",
    "\xff",
    '"',
    BOMB,
)


@cache
def corpus() -> tuple[str, ...]:
    files = [path.read_text() for path in sorted(EXAMPLES.glob("*.yaml"))]
    assert files
    return (*files, BOMB, "[" * 2000, '{"a":' * 500, "x: " + "y" * 100_000)


@cache
def objects() -> tuple[dict[str, Any], ...]:
    """The examples, and a bare object of every kind."""
    found = [obj for text in corpus()[:-4] for obj in yaml.safe_load_all(text) if obj]
    bare = [
        {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "a"}, "spec": {}} for kind in KINDS
    ]
    return (*found, *bare)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """A file with pieces taken out, doubled, or put in."""
    text = draw(st.sampled_from(corpus()) | st.text(max_size=200))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        new = draw(st.sampled_from(PIECES) | st.text(max_size=10) | st.just(text[start:end] * 2))
        text = text[:start] + new + text[end:]
    data = text.encode("utf-8", "surrogatepass")
    cut = draw(st.integers(0, len(data)))
    return data[:cut] + draw(st.binary(max_size=4)) + data[cut:] if draw(st.booleans()) else data


def nodes(obj: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in `obj` that can be written to."""
    for key, value in obj.items() if isinstance(obj, dict) else enumerate(obj):
        yield obj, key
        if isinstance(value, dict | list):
            yield from nodes(value)


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """An object with some of its values replaced, taken away, or given strange neighbours."""
    obj = copy.deepcopy(draw(st.sampled_from(objects())))
    for _ in range(draw(st.integers(0, 5))):
        places = list(nodes(obj))
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        if draw(st.booleans()):
            parent[key] = draw(JSON)
        elif isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        else:
            del parent[key]
    return obj


def read_manifest(data: bytes) -> None:
    with contextlib.suppress(VirtError):
        for document in load(data, "fuzz"):
            assert isinstance(document.obj, dict)
            encode(document.obj)
            assert document.line_of("spec.template.spec") >= 1


def decode_object(data: bytes) -> None:
    for type_ in TYPES.values():
        with contextlib.suppress(VirtError):
            encode(decode(data, type_))


def judge_object(obj: dict[str, Any]) -> None:
    """No exception; and what would be stored is stored again as it is."""
    before = copy.deepcopy(obj)
    fixed: dict[str, Callable[[], str]] = {"new_uuid": lambda: UUID, "new_mac": lambda: "", "now": lambda: NOW}
    verdict = judge(obj, **fixed)
    assert obj == before
    assert verdict.accepted != bool(verdict.causes)
    assert all(len(cause.message) < 4000 for cause in verdict.causes)
    current, _ = convert(obj)
    assert convert(current) == (current, [])
    if verdict.stored is not None:
        again = judge(json.loads(encode(verdict.stored)), **fixed)
        assert (again.causes, again.stored) == ([], verdict.stored)


def read_text(text: str) -> None:
    for parse in (quantity.parse, quantity.canonical, quantity.to_bytes, selectors.parse):
        with contextlib.suppress(VirtError):
            parse(text)  # type: ignore[operator]
    with contextlib.suppress(VirtError):
        assert quantity.canonical(quantity.canonical(text)) == quantity.canonical(text)


NUMBERS = st.from_regex(r"[+-]?[0-9.]{0,40}(?:[eE][+-]?[0-9]{0,6}|[numkKMGTPE]i?)?", fullmatch=True)
SELECTORS = st.lists(st.sampled_from(["a", "!", "=", "==", "in", "(", ")", ",", "b", " ", labels.NODE_NAME])).map(
    "".join
)
TARGETS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]] = {
    "manifest": (texts(), read_manifest),
    "codec": (texts() | manifests().map(encode), decode_object),
    "judge": (manifests(), judge_object),
    "text": (st.text(max_size=60) | NUMBERS | SELECTORS, read_text),
}


@contextlib.contextmanager
def bounded(memory: int, seconds: float) -> Iterator[None]:
    """Neither more bytes than we have now plus `memory`, nor longer than `seconds`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, hard))
    begin = time.monotonic()
    try:
        yield
        assert time.monotonic() - begin < seconds
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture
def _bounded_memory() -> Iterator[None]:
    with bounded(MEMORY, SECONDS + 300):
        yield


HEAD = '"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "a"}'
LONG = "x" * 10_000_000
# What somebody who means harm would send, and how the answer begins; "" where it is an object like any other.
ATTACKS: dict[str, tuple[bytes, str]] = {
    "aliases of lists": (BOMB.encode(), "the document has more than 1000000 values"),
    "aliases of a long text": (
        f"a: &a {'x' * 100_000}\nb: [{','.join(['*a'] * 20_000)}]".encode(),
        "the document has more than 16 MiB of text",
    ),
    "merged maps": (
        ("a: &a {" + ",".join(f"k{i}: 1" for i in range(5000)) + "}\n").encode()
        + b"".join(b"m%d: {<<: *a}\n" % i for i in range(300)),
        "the document has more than 1000000 values",
    ),
    "merged texts": (
        f"a: &a {{b: {'x' * 100_000}}}\n".encode() + b"".join(b"m%d: {<<: [*a, *a]}\n" % i for i in range(2000)),
        "the document has more than 16 MiB of text",
    ),
    "an alias of itself": (b"a: &a [*a]", "alias *a has no anchor before it"),
    "100 deep": (b'{"a":' * 99 + b"1" + b"}" * 99, ""),
    "101 deep": (b'{"a":' * 101 + b"1" + b"}" * 101, "nested too deeply"),
    "100000 deep": (b'{"a":' * 100_000, "nested too deeply"),
    "100000 lists deep": (b"[" * 100_000, "nested too deeply"),
    "100 deep by aliases": (
        b"a: &a [[[[[[[[[[1]]]]]]]]]]\n"
        + b"".join(b"%c: &%c [[[[[[[[[[*%c]]]]]]]]]]\n" % (98 + i, 98 + i, 97 + i) for i in range(12)),
        "nested too deeply",
    ),
    "10 MB in quotes": (f'{{"a": "{LONG}"}}'.encode(), "this object has 9.5 MiB, more than the 3 MiB"),
    "10 MB without": (f"a: {LONG}".encode(), "this object has 9.5 MiB, more than the 3 MiB"),
    "10 MB of lines": (b"a: |\n" + b"  xxxxxxxxx\n" * 900_000, "this object has"),
    "a field of 10 MB": (f"{LONG}: a".encode(), "mapping values are not allowed"),
    "20 MB": (b"x" * 20_000_000, "has 19.1 MiB, more than the 16 MiB"),
    "a million documents": (b"---\n" * 1_000_000, "the file has more than 10000 documents"),
    "a field twice": (b"a: 1\na: 2", "field 'a' is written twice"),
    "a field twice in JSON": (b'{"a": {"b": 1, "b": 2}}', "field 'a.b' is written twice"),
    "Latin-1": ("a: é".encode("latin-1"), "byte 0xe9 is not UTF-8 text"),
    "UTF-16": ("a: é".encode("utf-16"), "byte 0xff is not UTF-8 text"),
    "bytes": (bytes(range(256)), "byte 0x80 is not UTF-8 text"),
    "half a surrogate": (rb'{"a": "\ud800"}', ""),
    "a NUL": (b"a: \0", "control characters are not allowed"),
    "a program": (b"!!python/object/apply:os.system ['true']", "the tag"),
    "no number": (b"a: 1e999", "1e999 is not a number"),
    "a number of a million digits": (b'{"a": ' + b"1" * 1_000_000 + b"}", ""),
    "200000 fields": (b"\n".join(b"k%d: 1" % i for i in range(200_000)), ""),
    "2000 wrong fields": (
        ("{" + HEAD + ', "spec": {' + ",".join(f'"f{i}": 1' for i in range(2000)) + "}}").encode(),
        "",
    ),
    "5000 disks of one name": (
        (
            "{"
            + HEAD
            + ', "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"memory": {"guest": "1Gi"},'
            '"devices": {"disks": [' + ",".join(['{"name": "a", "disk": {"bus": "zzz"}}'] * 5000) + "]}}}}}}"
        ).encode(),
        "",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_answered_in_bounded_time_and_memory(name: str) -> None:
    data, answer = ATTACKS[name]
    with bounded(MEMORY // 4, CASE_SECONDS):
        refusal, causes = answers(data)
    assert bool(refusal) == bool(answer), refusal
    assert answer in refusal
    assert len(refusal) < 400
    assert refusal or causes
    assert all(len(cause.message) < 4000 for cause in causes)


def answers(data: bytes) -> tuple[str, list[Cause]]:
    """Why it is no manifest, or what is wrong with the objects in it."""
    try:
        found = load(data, "FILE")
    except VirtError as error:
        return error.message, []
    return "", [cause for document in found for cause in judge(document.obj).causes]


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_on_the_decoder(name: str) -> None:
    """What the servers decode: JSON, without the reader of manifests before it."""
    with bounded(MEMORY // 4, CASE_SECONDS):
        decode_object(ATTACKS[name][0])


@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.usefixtures("_bounded_memory")
@pytest.mark.parametrize("name", TARGETS)
def test_strange_input(name: str) -> None:
    strategy, target = TARGETS[name]

    @settings(deadline=None, database=None, max_examples=100, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def cases(value: Any) -> None:
        begin = time.monotonic()
        target(value)
        assert time.monotonic() - begin < CASE_SECONDS

    end = time.monotonic() + SECONDS
    cases()
    while time.monotonic() < end:
        cases()
