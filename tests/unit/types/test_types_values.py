"""Quantities, selectors, the codec and the light modules: laws and tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_types import labels, selectors
from virt_types.codec import decode, encode, from_builtins, to_builtins
from virt_types.errors import InvalidObject, VirtError
from virt_types.kinds import KINDS, VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, find_kind
from virt_types.meta import LabelSelector, LabelSelectorRequirement
from virt_types.quantity import BINARY, DECIMAL, LIMIT, QuantityError, canonical, parse, to_bytes
from virt_types.v1 import Disk, VirtualMachine, VirtualMachineInstance, VolumeStatus


@pytest.mark.parametrize(
    ("text", "value", "stored"),
    [
        ("64Mi", 64 * 2**20, "64Mi"),
        ("1.5Gi", 3 * 2**29, "1536Mi"),
        ("1024Ki", 2**20, "1Mi"),
        ("1000Ki", 1024000, "1000Ki"),
        ("0.5Ki", 512, "512"),
        ("1Ki", 1024, "1Ki"),
        ("64M", 64_000_000, "64M"),
        ("1500000", 1_500_000, "1500k"),
        (2, 2, "2"),
        (0.1, "0.1", "100m"),
        ("0.5", "0.5", "500m"),
        ("1500m", "1.5", "1500m"),
        ("1e3", 1000, "1e3"),
        ("1E", 10**18, "1E"),
        ("1E3", 1000, "1e3"),
        ("0", 0, "0"),
        ("0Mi", 0, "0"),
        ("-1.5Gi", -3 * 2**29, "-1536Mi"),
        ("+5", 5, "5"),
        ("5.", 5, "5"),
        (".5", "0.5", "500m"),
        ("0.0000000001", "0.000000001", "1n"),
        ("100E", LIMIT, "9223372036854775807"),
        ("1.0000001Ki", "1024.0001024", "1025"),
    ],
)
def test_quantities(text: Any, value: Any, stored: str) -> None:
    assert parse(text) == Decimal(str(value))
    assert canonical(text) == stored


NO_QUANTITIES = [
    "",
    " ",
    "12Q",
    "1 Gi",
    "Gi",
    "1GiB",
    "--1",
    "1e",
    "1.2.3",
    "0x10",
    "1Ki2",
    "NaN",
    "inf",
    "-",
    ".",
    "１",
]


@pytest.mark.parametrize("text", [*NO_QUANTITIES, "1" * 65, True, float("nan"), float("inf"), Decimal("NaN")])
def test_no_quantities(text: Any) -> None:
    with pytest.raises(QuantityError) as caught:
        parse(text)
    assert "is not a quantity" in caught.value.message
    assert len(caught.value.message) < 100


def test_bytes_are_rounded_up() -> None:
    assert [to_bytes(text) for text in ("1", "0.1", "1500m", "1.0000001Ki")] == [1, 1, 2, 1025]


quantities = st.builds(
    lambda sign, number, suffix: f"{sign}{number}{suffix}",
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 10**9).map(str) | st.decimals(0, 10**6, places=3).map(lambda number: f"{number:f}"),
    st.sampled_from([*BINARY, *DECIMAL, "e3", "E-2", "e0"]),
)


@given(quantities)
def test_canonical_is_stable_and_keeps_the_value(text: str) -> None:
    once = canonical(text)
    assert canonical(once) == once
    value, stored = parse(text), parse(once)
    # A fraction of a byte is rounded away from zero in the binary family.
    assert value == stored or (abs(stored) > abs(value) and abs(stored - value) < 1 and text.endswith("i"))


@given(quantities, quantities)
def test_parsing_keeps_the_order_of_plain_numbers(first: str, second: str) -> None:
    assert (parse(first) <= parse(second)) or (parse(second) <= parse(first))
    assert parse(f"{abs(parse(first)):f}"[:64]) >= 0


@given(st.text(max_size=80) | st.floats() | st.integers())
def test_anything_is_a_quantity_or_a_quantity_error(value: Any) -> None:
    try:
        number = parse(value)
    except QuantityError:
        return
    assert abs(number) <= LIMIT
    assert parse(canonical(value)) is not None


LABELS = {"app": "web", "tier": "", "example.com/n": "5"}


@pytest.mark.parametrize(
    ("text", "matches", "printed"),
    [
        ("", True, ""),
        ("app", True, "app"),
        ("!app", False, "!app"),
        ("app=web", True, "app=web"),
        ("app==web", True, "app=web"),
        ("app!=web", False, "app notin (web)"),
        ("none!=x", True, "none notin (x)"),
        ("app in (web, db)", True, "app in (db,web)"),
        ("app notin (web)", False, "app notin (web)"),
        ("none notin (web)", True, "none notin (web)"),
        ("tier=", True, "tier="),
        ("example.com/n>4", True, "example.com/n>4"),
        ("example.com/n<5", False, "example.com/n<5"),
        ("app>1", False, "app>1"),
        (" app = web , tier in () ,!x", True, "app=web,tier=,!x"),
    ],
)
def test_selectors(text: str, matches: bool, printed: str) -> None:
    selector = selectors.parse(text)
    assert selector.matches(LABELS) is matches
    assert str(selector) == printed
    assert selectors.parse(printed).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("app in x", "unable to parse requirement: found 'x' expected: '('"),
        ("a b=c", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("app=x y", "found 'y', expected: ',' or 'end of string'"),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("app===x", "unable to parse requirement: found '=', expected: identifier"),
        ("app in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("-bad=1", "'-bad' is not a label key"),
        (f"a={'x' * 64}", "is not a label value"),
        ("a>b", "must be an integer"),
        ("a=1,", "found '', expected"),
    ],
)
def test_bad_selectors(text: str, message: str) -> None:
    with pytest.raises(selectors.SelectorError, match=r".") as caught:
        selectors.parse(text)
    assert message in caught.value.message


@given(st.text(max_size=60) | st.text(alphabet="ab=!(),<> in", max_size=30))
def test_any_text_is_a_selector_or_a_selector_error(text: str) -> None:
    try:
        selector = selectors.parse(text)
    except selectors.SelectorError:
        return
    again = selectors.parse(str(selector))
    assert again.matches({"a": "b"}) == selector.matches({"a": "b"})
    assert str(again) == str(selector)


def test_selectors_of_objects() -> None:
    requirement = LabelSelectorRequirement(key="tier", operator="Exists")
    selector = selectors.from_struct(LabelSelector(match_labels={"app": "web"}, match_expressions=[requirement]))
    assert str(selector) == "app=web,tier"
    assert selector.matches(LABELS)
    assert selectors.from_struct(LabelSelector()).matches(None)
    for operator, values in (("In", []), ("Exists", ["x"]), ("Like", ["x"])):
        bad = LabelSelectorRequirement(key="a", operator=operator, values=values)
        with pytest.raises(selectors.SelectorError):
            selectors.from_struct(LabelSelector(match_expressions=[bad]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "<root> in body must be of type object"),
        (b'{"spec": {"running": "yes"}}', 'spec.running in body must be of type boolean: "string"'),
        (b'{"spec": {"template": {"spec": {"volumes": [{"emptyDisk": {}}]}}}}', "emptyDisk.capacity: Required value"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"metadata": {"name": "\xff"}}', "not valid JSON"),
    ],
)
def test_decoding_names_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(InvalidObject, match=r".") as caught:
        decode(data, VirtualMachine)
    assert message in caught.value.message


def test_null_is_absent() -> None:
    data = b'{"metadata": {"name": "x", "labels": null}, "status": null, "spec": {"volumes": null}}'
    assert encode(decode(data, VirtualMachineInstance)) == encode(
        from_builtins({"metadata": {"name": "x"}}, VirtualMachineInstance)
    )


def test_absent_is_not_encoded_but_required_is() -> None:
    assert encode(Disk(name="d")) == b'{"name":"d"}'
    assert encode(VolumeStatus(name="v")) == b'{"name":"v","target":""}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metadata", "spec", "status", "template", "domain", "name", "x"]), inner, max_size=4
        )
    ),
    max_leaves=15,
)


@given(JSON)
def test_any_json_decodes_or_is_refused(obj: Any) -> None:
    try:
        vm = decode(json.dumps(obj).encode(), VirtualMachine)
    except VirtError:
        return
    assert to_builtins(decode(encode(vm), VirtualMachine)) == to_builtins(vm)


@pytest.mark.parametrize(
    ("word", "kind"),
    [(word, VIRTUAL_MACHINE) for word in ("vm", "vms", "VM", "virtualmachine", "VirtualMachines", "ovm", "omv", "omvs")]
    + [(word, VIRTUAL_MACHINE) for word in ("offlinevirtualmachine", "virtualmachines.kubevirt.io")]
    + [(word, VIRTUAL_MACHINE_INSTANCE) for word in ("vmi", "vmis", "VirtualMachineInstance", "vmi.kubevirt.io")]
    + [("pod", None), ("", None)],
)
def test_kinds_by_any_spelling(word: str, kind: Any) -> None:
    assert find_kind(word) is kind


def test_kinds_are_unambiguous() -> None:
    words = [word for kind in KINDS for word in (kind.plural, kind.singular, *kind.short_names, *kind.aliases)]
    assert len(words) == len(set(words))


def test_label_names_are_label_names() -> None:
    names = {name: value for name, value in vars(labels).items() if name.isupper() and isinstance(value, str)}
    users = {name for name in names if name.endswith(("_USER", "_GROUP"))}
    for name in names.keys() - users:
        assert selectors.LABEL_KEY.fullmatch(names[name].removesuffix("/")), name


def run(code: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["kinds", "labels", "errors"])
def test_light_modules_import_the_standard_library_only(module: str) -> None:
    code = f"import sys, virt_types.{module}; print([m for m in ('msgspec', 'yaml', 'json') if m in sys.modules])"
    assert run(code) == "[]"


def test_importing_the_types_is_cheap() -> None:
    code = "import time; t = time.process_time(); import virt_types.v1; print(time.process_time() - t)"
    assert min(float(run(code)) for _ in range(5)) < 0.08  # about 0.03 on an idle machine


def test_importing_the_types_pulls_in_nothing_heavy() -> None:
    code = "import sys, virt_types.v1; print([m for m in ('yaml', 'asyncio', 'jinja2') if m in sys.modules])"
    assert run(code) == "[]"
