"""Values into and out of PostgreSQL, statements, DSNs."""

import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from headrace_connector_sdk.outcome import Word
from headrace_connectors.domain.dsn import Dsn, TlsMode, parse_dsn
from headrace_connectors.domain.sql_statements import affected_rows, outcome_of_error, refusal_of
from headrace_connectors.domain.sql_values import BadParameter, parameter, shown


@pytest.mark.parametrize(
    ("given", "kind", "value"),
    [
        (None, "int4", None),
        (7, "int4", 7),
        (7.0, "int8", 7),
        (7, "float8", 7.0),
        ("1.10", "numeric", Decimal("1.10")),
        (1.1, "numeric", Decimal("1.1")),
        ("x", "text", "x"),
        ({"a": 1}, "jsonb", '{"a": 1}'),
        ("2026-11-25", "date", date(2026, 11, 25)),
        ("12:30", "time", time(12, 30)),
        ("2026-11-25T12:00:00", "timestamptz", datetime(2026, 11, 25, 12, tzinfo=UTC)),
        ("2026-11-25T12:00:00+02:00", "timestamp", datetime(2026, 11, 25, 10)),  # noqa: DTZ001 the type has no zone
        (90, "interval", timedelta(seconds=90)),
        ("AAE=", "bytea", b"\0\1"),
        ([1, None], "int4[]", [1, None]),
    ],
)
def test_a_parameter_takes_the_type_of_its_place(given: Any, kind: str, value: Any) -> None:
    assert parameter(given, kind, 1) == value


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("seven", "int4"),
        (True, "int4"),
        (1.5, "int8"),
        (True, "numeric"),
        ("soon", "timestamptz"),
        (5, "date"),
        ("%%", "bytea"),
        ("1h", "interval"),
        ("not a list", "text[]"),
        ([["2026-11-25"]], "date[]"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named_without_its_value(given: Any, kind: str) -> None:
    with pytest.raises(BadParameter, match=r"\$3") as refused:
        parameter(given, kind, 3)
    assert str(given) not in str(refused.value).replace("a list", "")


@pytest.mark.parametrize(
    ("value", "kind", "json"),
    [
        (None, "text", None),
        (2**53, "int8", 2**53),
        (2**53 + 1, "int8", str(2**53 + 1)),
        (float("nan"), "float8", "nan"),
        (Decimal("1.10"), "numeric", 1.1),
        (Decimal(3), "numeric", 3),
        (Decimal("0.1234567890123456789"), "numeric", "0.1234567890123456789"),
        (Decimal("NaN"), "numeric", "NaN"),
        ('{"a": [1]}', "jsonb", {"a": [1]}),
        ("{}", "text", "{}"),
        (b"\0\1", "bytea", "AAE="),
        (timedelta(minutes=1.5), "interval", 90.0),
        (datetime(2026, 11, 25, tzinfo=timezone(timedelta(hours=1))), "timestamptz",
         "2026-11-25T00:00:00+01:00"),
        (uuid.UUID(int=1), "uuid", "00000000-0000-0000-0000-000000000001"),
        ([Decimal("1.5"), None], "numeric[]", [1.5, None]),
    ],
)  # fmt: skip
def test_a_value_keeps_its_meaning_as_json(value: Any, kind: str, json: Any) -> None:
    assert shown(value, kind) == json


@pytest.mark.parametrize(
    "sql",
    ["", "  ", "-- only this", "/* /* nested */ select 1 */", "COMMIT", "(begin", "/**/copy t"],
)
def test_what_is_no_single_statement_is_refused(sql: str) -> None:
    assert refusal_of(sql) is not None


@pytest.mark.parametrize(
    "sql",
    ["select 1", "-- a\nINSERT into t", "/* commit */ with x as (select 1) table x", "(select 1)"],
)
def test_ordinary_statements_are_not_refused(sql: str) -> None:
    assert refusal_of(sql) is None


@pytest.mark.parametrize(
    ("sqlstate", "word", "error_type"),
    [
        ("57014", Word.RETRY, "timeout.attempt"),
        ("40001", Word.RETRY, "postgres.40001"),
        ("40P01", Word.RETRY, "postgres.40P01"),
        ("53300", Word.RETRY, "postgres.53300"),
        ("57P01", Word.RETRY, "postgres.57P01"),
        ("55P03", Word.RETRY, "postgres.55P03"),
        ("28P01", Word.AUTH_EXPIRED, "auth"),
        ("23505", Word.PERMANENT, "postgres.23505"),
        ("42601", Word.PERMANENT, "postgres.42601"),
    ],
)
def test_an_error_code_says_whether_a_repeat_helps(
    sqlstate: str, word: Word, error_type: str
) -> None:
    outcome = outcome_of_error(sqlstate, "because")
    assert (outcome.word, outcome.error_type) == (word, error_type)
    assert not outcome.may_have_acted


@pytest.mark.parametrize(
    ("status", "rows"), [("INSERT 0 5", 5), ("UPDATE 3", 3), ("CREATE TABLE", 0), ("", 0)]
)
def test_a_command_tag_says_how_many_rows_were_changed(status: str, rows: int) -> None:
    assert affected_rows(status) == rows


def test_a_dsn_is_read_with_its_escapes() -> None:
    found = parse_dsn("postgres://re%40der:s%2Fcret@db.example:6432/sh%20op?sslmode=verify-full")
    assert found == Dsn(
        host="db.example",
        port=6432,
        user="re@der",
        password="s/cret",
        database="sh op",
        tls=TlsMode.VERIFY_FULL,
    )
    assert "s/cret" not in repr(found)
    assert parse_dsn("postgresql://u@[::1]").host == "::1"
    assert parse_dsn("postgresql://u@db").database == "u"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mysql://u:hidden@db/x",
        "postgresql:///x",
        "postgresql://db/x",
        "postgresql://u:hidden@%2Fvar%2Frun/x",
        "postgresql://u:hidden@a,b/x",
        "postgresql://u:hidden@db:port/x",
        "postgresql://u:hidden@db/x?passfile=/etc/passwd",
        "postgresql://u:hidden@db/x?service=prod",
        "postgresql://u:hidden@db/x?sslmode=verify-ca",
        "postgresql://u:hidden@db/x?host=other",
    ],
)
def test_a_dsn_that_would_use_this_machine_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^its? ") as refused:
        parse_dsn(text)
    assert "hidden" not in str(refused.value)
