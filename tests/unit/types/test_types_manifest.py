"""Manifests: what is read, and that nothing hostile gets further than a clear error."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from virt_types.errors import VirtError
from virt_types.manifest import MAX_BYTES, MAX_DEPTH, MAX_OBJECT_BYTES, ManifestError, load


def one(text: str) -> Any:
    (document,) = load(text.encode(), "x.yaml")
    return document.obj


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("Off", False),
        ("y", "y"),
        ("~", None),
        ("", None),
        ("12", 12),
        ("010", 8),
        ("0o10", 8),
        ("08", 8.0),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        ("64Mi", "64Mi"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("52:54:00:12:34:56", "52:54:00:12:34:56"),  # base 60 to YAML 1.1
        ("2026-01-01", "2026-01-01"),  # a date to YAML 1.1
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        (".inf", ".inf"),
        ("9223372036854775808", 9223372036854775808),
        ("99999999999999999999", 1e20),
    ],
)
def test_scalars_mean_what_they_mean_to_kubectl(text: str, value: Any) -> None:
    assert one(f"a: {text}\nb: 1") == {"a": value, "b": 1}


def test_documents_lists_and_lines() -> None:
    text = b"# comment\n---\nkind: A\nspec:\n  disks:\n  - name: x\n    bus: y\n---\n---\n"
    text += b"kind: List\nitems:\n- kind: B\n- kind: C\n"
    first, *rest = load(text, "x")
    assert (first.obj["kind"], first.line, first.line_of("spec.disks[0].bus")) == ("A", 3, 7)
    assert first.line_of("spec.disks[0].pciAddress") == 6
    assert first.line_of("metadata.name") == 3
    assert [(part.obj, part.line) for part in rest] == [({"kind": "B"}, 12), ({"kind": "C"}, 13)]


def test_merge_keys_and_aliases_share_nothing() -> None:
    obj = one("base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\nagain: *b")
    assert obj["own"] == {"x": 1, "y": 3}
    obj["again"]["x"] = 9
    assert obj["base"]["x"] == 1


def test_json_with_surrogate_pairs_and_tabs() -> None:
    assert one('{\n\t"a": "\\ud83d\\ude00", "b": 1e2, "c": 5}') == {"a": "😀", "b": 100.0, "c": 5}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
MERGE_BOMB = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{','.join(['*' + chr(97 + i)] * 9)}]}}\n" for i in range(9)
)
# Each anchor is shallow, used in one another they are deep.
DEEP_BY_ALIAS = "a0: &a0 x\n" + "".join(f"a{i + 1}: &a{i + 1} {'[' * 40}*a{i}{']' * 40}\n" for i in range(9))
REFUSED = {
    "twice": (b"a: 1\nb: 2\na: 3\n", "line 3: field 'a' is written twice"),
    "twice in JSON": (b'{"spec": {"a": 1, "a": 2}}', "line 1: field 'spec.a' is written twice"),
    "billion laughs": (BOMB.encode(), "more than 1000000 values"),
    "merged laughs": (MERGE_BOMB.encode(), "more than 1000000 values"),
    "deep": (b"a: " + b"[" * 5000, "nested too deeply"),
    "deep in JSON": (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "nested too deeply"),
    "deep block": (b"\n".join(b" " * i + b"a:" for i in range(400)), "nested too deeply"),
    "deep by alias": (DEEP_BY_ALIAS.encode(), "nested too deeply"),
    "itself": (b"a: &a [*a]\n", "alias *a has no anchor before it"),
    "a tag": (b"a: !!python/object/apply:os.system ['id']\n", "the tag"),
    "binary tag": (b"a: !!binary aGk=\n", "the tag"),
    "latin-1": (b"a: 1\nb: caf\xe9\n", "line 2: byte 0xe9 is not UTF-8 text"),
    "UTF-16": ("a: 1".encode("utf-16"), "is not UTF-8 text"),
    "NUL": (b"a: \x00\n", ""),
    "a list": (b"- 1\n", "an object is expected here, not a list"),
    "a text": (b"hello\n", "an object is expected here, not a text"),
    "not a number": (b"a: !!float 1e999\n", "not a number"),
    "key": (b"? [a]\n: b\n", "a field's name must be a text"),
    "tab": (b"a:\n\tb: 1\n", "line 2"),
    "big file": (b"a: " + b"x" * MAX_BYTES, "16.0 MiB, more than"),
    "20 MB": (b"a: " + b"x" * 20_000_000, "19.1 MiB, more than the 16 MiB a manifest may have"),
    "big object": (b"a: " + b"x" * MAX_OBJECT_BYTES, "more than the 3 MiB an API server takes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    text, message = REFUSED[name]
    started = time.monotonic()
    with pytest.raises(ManifestError) as caught:
        load(text, "x.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("x.yaml")
    assert time.monotonic() - started < 10


def test_as_deep_as_allowed() -> None:
    text = "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert json.dumps(one(text)).count("[") == MAX_DEPTH - 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_json_is_read_as_json(obj: dict[str, Any]) -> None:
    text = json.dumps(obj)
    (document,) = load(text.encode(), "x")
    assert document.obj == json.loads(text)


@given(st.binary(max_size=300) | st.text(alphabet="a:-[]{}&*!<|>?\"' \n\t#%01,", max_size=200).map(str.encode))
@example(b"&a a: *a")
@example(b"<<: 1")
@settings(max_examples=300)
def test_any_bytes_end_in_documents_or_an_error(data: bytes) -> None:
    try:
        documents = load(data, "x")
    except VirtError:
        return
    assert all(isinstance(document.obj, dict) for document in documents)
