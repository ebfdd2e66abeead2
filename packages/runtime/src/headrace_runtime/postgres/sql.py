"""Named statements from `.sql` files that lie beside their adapter.

-- name: mark_processed
insert into processed_step (step_id) values ($1);
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

NAME_LINE = re.compile(r"^--[ \t]*name:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
NAME = re.compile(r"[a-z][a-z0-9_]*")
COMMENT_LINE = re.compile(r"^[ \t]*--.*$", re.MULTILINE)
IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@cache
def load_statements(path: Path) -> Mapping[str, str]:
    """Statement by name; each file is read once per process.

    Raises ValueError, naming file and line, on a bad, repeated or empty block and on SQL that
    stands before the first name: a broken file is a bug and fails at import.
    """
    text = path.read_text(encoding="utf-8")
    marks = list(NAME_LINE.finditer(text))
    if COMMENT_LINE.sub("", text[: marks[0].start()] if marks else text).strip():
        raise ValueError(f"{path}: SQL before the first '-- name:' line")
    statements: dict[str, str] = {}
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        name = mark.group(1)
        where = f"{path}:{text.count(chr(10), 0, mark.start()) + 1}"
        if not NAME.fullmatch(name):
            raise ValueError(f"{where}: {name!r} is not a name (a-z, 0-9 and _)")
        if name in statements:
            raise ValueError(f"{where}: a second statement named {name!r}")
        body = text[mark.end() : following.start() if following else len(text)].strip()
        if not COMMENT_LINE.sub("", body).strip():
            raise ValueError(f"{where}: {name!r} has no SQL")
        statements[name] = body
    return MappingProxyType(statements)


def identifier(name: str) -> str:
    """`name` itself, fit to stand in SQL without quotes; ValueError for anything doubtful."""
    if not IDENTIFIER.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain SQL identifier (a-z, 0-9, _; at most 63)")
    return name


def literal(text: str) -> str:
    """A string constant for statements that take no parameters (ALTER ROLE, CREATE DATABASE)."""
    if "\0" in text or "\\" in text:
        raise ValueError("a SQL constant must hold neither NUL nor backslash")
    return "'" + text.replace("'", "''") + "'"
