"""Kubernetes resource quantities: "64Mi", "1.5Gi", "500m", 2, "1e3", read exactly.

Who compares or computes with a quantity parses it here; Structs keep what the user wrote.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_UP, Context, Decimal

from virt_types.errors import VirtError

BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
PATTERN = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d{1,3}))?", re.ASCII)
# Longer texts are no quantities, they are attacks on the parser.
MAX_LENGTH = 64
LIMIT = 2**63 - 1
_NANO = Decimal(1).scaleb(-9)
_EXACT = Context(prec=200)


class QuantityError(VirtError):
    """A text that is no resource quantity."""

    reason = "InvalidQuantity"

    def __init__(self, value: object) -> None:
        super().__init__(
            f"{_shown(value)} is not a quantity",
            hint="write a number with an optional suffix: 512Mi, 2Gi, 1.5G, 500m",
        )


def parse(value: str | int | float | Decimal) -> Decimal:
    """The exact number, rounded up to a billionth and capped at ±(2^63-1) as Kubernetes does; raises QuantityError."""
    if isinstance(value, bool):
        raise QuantityError(value)
    if isinstance(value, Decimal) or (isinstance(value, int) and -LIMIT <= value <= LIMIT):
        return _bounded(Decimal(value))
    text = repr(value) if isinstance(value, float) else str(value)
    match = PATTERN.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise QuantityError(value)
    sign, digits, binary, suffix, exponent = match.groups()
    number = Decimal(digits)
    if binary:
        number = _EXACT.multiply(number, Decimal(BINARY[binary]))
    else:
        number = _EXACT.scaleb(number, int(exponent) if exponent else DECIMAL[suffix or ""])
    return _bounded(-number if sign == "-" else number)


def to_bytes(value: str | int | float | Decimal) -> int:
    """Whole bytes, rounded up; raises QuantityError."""
    return int(parse(value).to_integral_value(rounding=ROUND_CEILING))


def canonical(value: str | int | float | Decimal) -> str:
    """The one spelling Kubernetes stores: no fraction, the largest suffix, in the family the value was written in."""
    number = parse(value)
    if number == 0:
        return "0"
    text = str(value)
    match = PATTERN.fullmatch(text) if isinstance(value, str) else None
    if match and match[3] and abs(number) >= 1024:  # below that Kubernetes writes decimal
        return _binary(int(number.to_integral_value(rounding=ROUND_UP)))
    sign, digits, exponent = _integer_and_exponent(number)
    if match and match[5] is not None:
        return f"{sign}{digits}e{exponent}" if exponent else f"{sign}{digits}"
    suffix = next(name for name, power in DECIMAL.items() if power == exponent)
    return f"{sign}{digits}{suffix}"


def _bounded(number: Decimal) -> Decimal:
    if number.is_nan() or number.is_infinite():
        raise QuantityError(number)
    if abs(number) > LIMIT:
        return Decimal(LIMIT).copy_sign(number)
    if number == _EXACT.quantize(number, _NANO):
        return number
    # Away from zero, as Kubernetes rounds what is finer than nano.
    rounded = _EXACT.quantize(abs(number), _NANO)
    if rounded < abs(number):
        rounded = _EXACT.add(rounded, _NANO)
    return rounded.copy_sign(number)


def _binary(number: int) -> str:
    suffix = ""
    for name, factor in BINARY.items():
        if number % factor:
            break
        suffix = name
    return f"{number // BINARY.get(suffix, 1)}{suffix}"


def _integer_and_exponent(number: Decimal) -> tuple[str, str, int]:
    """Sign, digits and an exponent that is a multiple of three and as large as an integer mantissa allows."""
    sign, digits, exponent = number.normalize(_EXACT).as_tuple()
    power = max(-9, min(18, int(exponent) // 3 * 3))
    mantissa = int("".join(map(str, digits))) * 10 ** (int(exponent) - power)
    return "-" if sign else "", str(mantissa), power


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
