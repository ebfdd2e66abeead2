"""Canonical JSON as in RFC 8785: equal values have equal bytes, whoever writes them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring
from typing import cast

EXACT_INTEGER_MAX = 2**53 - 1
"""Beyond it JSON numbers are not exact everywhere; such a number is refused."""


def canonical_json(value: object) -> bytes:
    """Raises ValueError for what JSON cannot carry exactly: NaN, infinities, large integers."""
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts).encode()


def _write(value: object, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(encode_basestring(value))
    elif value is None or isinstance(value, bool):
        parts.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, int):
        if abs(value) > EXACT_INTEGER_MAX:
            raise ValueError(f"{value} is not exact in JSON; write it as text")
        parts.append(str(int(value)))
    elif isinstance(value, float):
        parts.append(_number(value))
    elif isinstance(value, Mapping):
        _write_members(cast(Mapping[str, object], value), parts)
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        parts.append("[")
        for index, item in enumerate(cast(Sequence[object], value)):
            if index:
                parts.append(",")
            _write(item, parts)
        parts.append("]")
    else:
        raise ValueError(f"{type(value).__name__} is not a JSON value")


def _write_members(value: Mapping[str, object], parts: list[str]) -> None:
    parts.append("{")
    for index, key in enumerate(_sorted(value)):
        if index:
            parts.append(",")
        parts.append(encode_basestring(key))
        parts.append(":")
        _write(value[key], parts)
    parts.append("}")


def _sorted(keys: Iterable[str]) -> list[str]:
    """By UTF-16 code units, as the RFC wants; these differ from characters above plane 0."""
    names = list(keys)
    if all(map(str.isascii, names)):
        return sorted(names)
    return sorted(names, key=lambda key: key.encode("utf-16-be"))


def _number(value: float) -> str:
    """The shortest digits that give the same double, laid out as ECMAScript does."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON number")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    return sign + _laid_out(digits, point)


def _laid_out(digits: str, point: int) -> str:
    """`point` is where the decimal point stands, counted from the first digit."""
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    exponent = point - 1
    head = digits[0] + ("." + digits[1:] if count > 1 else "")
    return f"{head}e{'+' if exponent > 0 else '-'}{abs(exponent)}"
