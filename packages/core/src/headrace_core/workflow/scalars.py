"""Plain scalars of YAML 1.2, core schema: `on` and `yes` are texts, 017 is seventeen."""

import re

from headrace_core.workflow.canonical import EXACT_INTEGER_MAX

JsonScalar = None | bool | int | float | str

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DIGITS_MAX = 64


class NotExact(ValueError):
    """A number that JSON cannot carry, or not exactly."""


def plain_scalar(text: str) -> JsonScalar:
    """The value of an unquoted scalar. Raises NotExact."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return _integer(text, 10)
    if _OCTAL.fullmatch(text):
        return _integer(text[2:], 8)
    if _HEX.fullmatch(text):
        return _integer(text[2:], 16)
    if _NOT_FINITE.fullmatch(text):
        raise NotExact
    if _FLOAT.fullmatch(text):
        number = float(text)
        if abs(number) == float("inf"):
            raise NotExact
        return number
    return text


def _integer(digits: str, radix: int) -> int:
    if len(digits) > _DIGITS_MAX or abs(int(digits, radix)) > EXACT_INTEGER_MAX:
        raise NotExact
    return int(digits, radix)
