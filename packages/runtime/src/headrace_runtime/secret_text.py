"""The one object that holds the plain value of a secret.

It shows nothing of itself: not in repr, text or format, not to pickle, copy or JSON. Whoever needs
the value calls `reveal`, which is easy to search for.
"""

import hmac
from typing import NoReturn

MASK = "***"


class SecretText:
    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> str:
        """The value, for the call that uses it; never to be kept or logged."""
        return self._value

    def __repr__(self) -> str:
        return f"SecretText({self.name!r}, {MASK})"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretText):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # pyright: ignore[reportAssignmentType] a hash would tell values apart

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("the value of a secret is neither copied nor pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("the value of a secret is neither copied nor pickled")
