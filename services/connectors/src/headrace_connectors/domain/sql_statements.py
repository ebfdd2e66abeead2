"""What a statement may be, and what PostgreSQL's error codes mean for the attempt."""

import re
from collections.abc import Iterator

from headrace_connector_sdk.outcome import Outcome

# Around the statement stands our transaction with the effect's key: it must not end it. The others
# need a protocol of their own.
_REFUSED = frozenset(
    {
        "abort",
        "begin",
        "commit",
        "copy",
        "end",
        "listen",
        "prepare",
        "release",
        "rollback",
        "savepoint",
        "start",
    }
)
_SKIPPED = re.compile(r"\s+|--[^\n]*(?:\n|$)|;|\(")
_WORD = re.compile(r"[a-zA-Z]+")

# Class or code to "may pass by itself": connection, resources, operator's intervention, locks,
# deadlocks and serialization failures.
_PASSING = ("08", "53", "57P", "55P03", "40", "58")
_AUTHENTICATION = ("28",)
_TIMEOUT = "57014"


def refusal_of(sql: str) -> str | None:
    """Why this is no statement to run here; None if it is."""
    word = _first_word(sql)
    if not word:
        return "`sql` holds no statement"
    if word in _REFUSED:
        return (
            f"{word.upper()} is not run here: each step is one transaction of its own, which holds "
            "one statement"
        )
    return None


def outcome_of_error(sqlstate: str, message: str) -> Outcome:
    """Of an error that the server reported: the transaction is rolled back, nothing was done."""
    if sqlstate == _TIMEOUT:
        return Outcome.retry("timeout.attempt", f"PostgreSQL: {message}")
    if sqlstate.startswith(_AUTHENTICATION):
        return Outcome.auth_expired("auth", f"PostgreSQL refuses the login: {message}")
    error_type = f"postgres.{sqlstate}"
    if sqlstate.startswith(_PASSING):
        return Outcome.retry(error_type, f"PostgreSQL: {message}")
    return Outcome.permanent(error_type, f"PostgreSQL: {message}")


def affected_rows(status: str) -> int:
    """Of a command tag such as `INSERT 0 5`, `UPDATE 3` or `CREATE TABLE`."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


def _first_word(sql: str) -> str:
    for start in _after_blanks(sql):
        word = _WORD.match(sql, start)
        return word.group().lower() if word else ""
    return ""


def _after_blanks(sql: str) -> Iterator[int]:
    """Where the first thing stands that is neither blank nor comment."""
    position = 0
    while position < len(sql):
        if sql.startswith("/*", position):
            position = _end_of_comment(sql, position)
        elif skipped := _SKIPPED.match(sql, position):
            position = skipped.end()
        else:
            yield position
            return


def _end_of_comment(sql: str, position: int) -> int:
    """Comments nest in PostgreSQL."""
    depth = 0
    for mark in re.finditer(r"/\*|\*/", sql[position:]):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return position + mark.end()
    return len(sql)
