"""JSON bytes and plain dicts to the API's Structs and back.

Called by everyone who reads or writes an object. Structs hold the fields this API version knows; whoever changes an
object that somebody else wrote gives `to_builtins` the original, and fields of newer versions stay where they were.
(Naming unknown fields is the schema's business: virt_types.structural.) A null is as good as an absent field, as it is
for a Kubernetes API server.
"""

from __future__ import annotations

import copy
import re
from typing import Any, TypeVar

import msgspec

from virt_types.errors import Cause, InvalidObject

T = TypeVar("T")
_WRONG_TYPE = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_JSON_TYPES = {"int": "integer", "str": "string", "bool": "boolean", "float": "number"}
_encoder = msgspec.json.Encoder()


_decoders: dict[Any, Any] = {}


def _decoder(type_: Any) -> Any:
    """The type's decoder; building one costs about a millisecond."""
    if type_ not in _decoders:
        _decoders[type_] = msgspec.json.Decoder(type_)
    return _decoders[type_]


def decode(data: bytes, type_: type[T]) -> T:
    """The object of a JSON text; InvalidObject when it isn't JSON or a field has the wrong type."""
    decoder: msgspec.json.Decoder[T] = _decoder(type_)
    try:
        try:
            return decoder.decode(data)
        except msgspec.ValidationError:  # perhaps only for a null
            return from_builtins(msgspec.json.decode(data), type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidObject(f"not valid JSON: {error}") from None
    except RecursionError:
        raise _too_deep() from None


def from_builtins(obj: Any, type_: type[T]) -> T:
    """The object of decoded JSON; InvalidObject when a field has the wrong type."""
    try:
        return msgspec.convert(_without_nulls(obj), type_)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except RecursionError:
        raise _too_deep() from None


def encode(obj: Any) -> bytes:
    """JSON of a Struct or plain data, without absent and empty fields."""
    return _encoder.encode(obj)


def to_builtins(obj: Any, *, keeping: dict[str, Any] | None = None) -> dict[str, Any]:
    """Plain dicts, lists and scalars of a Struct, as `json.loads(encode(obj))` would give.

    `keeping`: the dict the Struct was made from; its fields that the Struct doesn't know are in the result too.
    """
    plain: dict[str, Any] = msgspec.to_builtins(obj)
    if keeping is not None:
        _keep_unknown(keeping, obj, plain)
    return plain


def with_unknown(obj: dict[str, Any], original: dict[str, Any], type_: Any) -> dict[str, Any]:
    """A copy of `obj` that also has the fields of `original` which `type_`, the type of both, does not know."""
    made = copy.deepcopy(obj)
    _keep_unknown(original, from_builtins(obj, type_), made)
    return made


def _keep_unknown(original: Any, typed: Any, plain: Any) -> None:
    """Walks the three side by side; elements of lists belong together by their name, else by their place."""
    if isinstance(typed, msgspec.Struct) and isinstance(original, dict):
        known = typed.__struct_encode_fields__
        for wire, attribute in zip(known, typed.__struct_fields__, strict=True):
            if wire in original and wire in plain:
                _keep_unknown(original[wire], getattr(typed, attribute), plain[wire])
        plain.update({name: value for name, value in original.items() if name not in known and value is not None})
    elif isinstance(typed, list) and isinstance(original, list):
        by_name = {element["name"]: element for element in original if isinstance(element, dict) and "name" in element}
        for index, (element, made) in enumerate(zip(typed, plain, strict=True)):
            here = original[index] if index < len(original) else None
            _keep_unknown(by_name.get(getattr(element, "name", None), None if by_name else here), element, made)


def _without_nulls(obj: Any) -> Any:
    if isinstance(obj, dict):
        return {key: _without_nulls(value) for key, value in obj.items() if value is not None}
    if isinstance(obj, list):
        return [_without_nulls(value) for value in obj]
    return obj


def _too_deep() -> InvalidObject:
    return InvalidObject("nested too deeply to be an object of this API")


def _invalid(error: msgspec.ValidationError) -> InvalidObject:
    """msgspec says "Expected `int | null`, got `str` - at `$.spec.x`"; here an API server's words."""
    text, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").removeprefix(".") or "<root>"
    wrong = _WRONG_TYPE.fullmatch(text)
    if wrong is None:
        missing = _MISSING.fullmatch(text)
        message = f"{field}.{missing[1]}: Required value" if missing else f"{field}: {text.replace('`', '')}"
        return InvalidObject(
            message, (Cause("FieldValueRequired" if missing else "FieldValueInvalid", message, field),)
        )
    wanted = ",".join(_JSON_TYPES.get(name, name) for name in wrong[1].split(" | ") if name != "null")
    message = f'{field} in body must be of type {wanted}: "{_JSON_TYPES.get(wrong[2], wrong[2])}"'
    return InvalidObject(message, (Cause("FieldValueTypeInvalid", message, field),))
