"""Every field says what it means: to readers of the code, of the CRDs, and of `kubectl explain`."""

from __future__ import annotations

import ast
import inspect
import sys
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from virt_types import crds, descriptions
from virt_types.kinds import KINDS
from virt_types.meta import Base, LabelSelector, LabelSelectorRequirement, ObjectMeta

LONGEST = 110  # characters: one line in a class body
# Described where they are written by hand, as parts of metadata that no schema shows.
BY_HAND = "virt_types.meta"


def structs_in(annotation: Any) -> Iterator[type[Base]]:
    if isinstance(annotation, type) and issubclass(annotation, Base):
        yield annotation
    elif typing.get_origin(annotation) is not typing.Annotated:
        for argument in typing.get_args(annotation):
            yield from structs_in(argument)


def is_list(annotation: Any) -> bool:
    """Whether the annotation is a list, which `kubectl explain` shows beside what its elements are."""
    return typing.get_origin(annotation) is list


def reachable() -> list[type[Base]]:
    found: dict[type[Base], None] = {}
    todo: list[type[Base]] = list(crds.TYPES.values())
    while todo:
        type_ = todo.pop()
        if type_ not in found and type_ is not ObjectMeta:
            found[type_] = None
            todo += [inner for field in msgspec.structs.fields(type_) for inner in structs_in(field.type)]
    return list(found)


TYPES = reachable()
KNOWN = {type_.__name__: {field.encode_name for field in msgspec.structs.fields(type_)} for type_ in TYPES}


def owners(type_: type[Base]) -> list[str]:
    return [above.__name__ for above in type_.__mro__]


def test_every_type_says_what_it_is() -> None:
    assert len(TYPES) > 250
    assert [type_.__name__ for type_ in TYPES if not descriptions.of_type(type_.__name__)] == []


def test_every_field_says_what_it_means_or_is_self_evident() -> None:
    silent = [
        f"{type_.__name__}.{field.encode_name}"
        for type_ in TYPES
        for field in msgspec.structs.fields(type_)
        if not descriptions.of_field(owners(type_), field.encode_name)
        and field.encode_name not in descriptions.EVERYWHERE
        and field.encode_name not in descriptions.SELF_EVIDENT
        and (is_list(field.type) or not any(structs_in(field.type)))
    ]
    assert silent == []


def test_every_text_is_about_something() -> None:
    """And what is said of fields in general is used somewhere."""
    more = {"HotplugVolumeSource", "AddVolumeOptions", "RemoveVolumeOptions"}  # bodies of requests
    unknown = [
        f"{name}.{field}"
        for name, fields in descriptions.TEXTS.items()
        for field in fields
        if name not in more and field and field not in KNOWN.get(name, ())
    ]
    assert (unknown, descriptions.TEXTS.keys() - KNOWN.keys() - more) == ([], set())
    used = {name for fields in KNOWN.values() for name in fields}
    assert set(descriptions.EVERYWHERE) - used == set()


def test_texts_are_one_line_and_a_sentence() -> None:
    texts = [text for fields in descriptions.TEXTS.values() for text in fields.values()]
    odd = [
        text
        for text in (*texts, *descriptions.EVERYWHERE.values())
        if not text.endswith(".") or len(text) > LONGEST or "\n" in text or text != text.strip()
    ]
    assert (odd, len(texts) > 800) == ([], True)


def docstrings(type_: type[Base]) -> Iterator[tuple[str, str]]:
    """Attribute and the text below it, from the source: Python itself forgets them, so they cost nothing."""
    (definition,) = ast.parse(inspect.getsource(type_)).body
    assert isinstance(definition, ast.ClassDef)
    for line, following in zip(definition.body, [*definition.body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            yield line.target.id, str(text.value) if isinstance(text, ast.Constant) else ""


@pytest.mark.parametrize("module", sorted({type_.__module__ for type_ in TYPES} - {BY_HAND}))
def test_classes_carry_the_same_texts(module: str) -> None:
    for type_ in TYPES:
        if type_.__module__ != module:
            continue
        assert type_.__doc__ == descriptions.of_type(type_.__name__)
        fields = {field.name: field for field in msgspec.structs.fields(type_)}
        for attribute, text in docstrings(type_):
            wire = fields[attribute].encode_name
            shared = "" if any(structs_in(fields[attribute].type)) else descriptions.EVERYWHERE.get(wire, "")
            assert text == (descriptions.of_field(owners(type_), wire) or shared), f"{type_.__name__}.{attribute}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_explain_has_a_text_for_every_field(kind: Any) -> None:
    """What `kubectl explain --recursive` walks: each property of the stored version's schema."""

    def silent(schema: dict[str, Any], path: str) -> Iterator[str]:
        for name, inner in schema.get("properties", {}).items():
            if not inner.get("description") and name not in descriptions.SELF_EVIDENT:
                yield f"{path}.{name}"
            yield from silent(inner.get("items", inner), f"{path}.{name}")

    # An object's own metadata is the API server's to explain: it refuses a definition with any word about it.
    assert list(silent(crds.stored_schema(kind), kind.kind)) == [f"{kind.kind}.metadata"]


def test_nobody_pays_for_texts_who_only_reads_objects() -> None:
    import subprocess

    code = "import sys, virt_types.v1, virt_types.validation, virt_types.defaults; print([*sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "virt_types.v1.cpu" in answer.stdout
    assert "virt_types.descriptions" not in answer.stdout


def test_selectors_are_described_though_written_by_hand() -> None:
    for type_ in (LabelSelector, LabelSelectorRequirement):
        assert all(descriptions.of_field([type_.__name__], name) for name in KNOWN[type_.__name__])
