"""Named statements and the two ways to put text into SQL."""

from pathlib import Path

import pytest

from headrace_runtime.postgres.sql import identifier, literal, load_statements


def write(folder: Path, text: str) -> Path:
    path = folder / "statements.sql"
    path.write_text(text)
    return path


def test_statements_are_found_by_name_with_their_comments(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "-- about this file\n\n-- name: first\nselect 1;\n\n--name:second_2\n-- why\nselect\n 2;\n",
    )
    found = load_statements(path)
    assert dict(found) == {"first": "select 1;", "second_2": "-- why\nselect\n 2;"}


def test_a_file_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, "-- name: first\nselect 1;")
    before = load_statements(path)
    path.write_text("-- name: other\nselect 2;")
    assert load_statements(path) is before


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("select 1;\n-- name: a\nselect 2;", "SQL before the first"),
        ("select 1;", "SQL before the first"),
        ("-- name: a\nselect 1;\n-- name: a\nselect 2;", r":3: a second statement named 'a'"),
        ("-- name: a\n-- nothing\n-- name: b\nselect 2;", r":1: 'a' has no SQL"),
        ("-- name: two words\nselect 1;", r":1: 'two words' is not a name"),
        ("-- name:\nselect 1;", r":1: '' is not a name"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        load_statements(write(tmp_path, text))


def test_a_plain_identifier_passes_unchanged() -> None:
    assert identifier("headrace_log") == "headrace_log"


@pytest.mark.parametrize("name", ["", "A", "a b", 'a"', "1a", "a;", "ä", "a" * 64, "a\n"])
def test_a_doubtful_identifier_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a plain SQL identifier"):
        identifier(name)


def test_quotes_in_a_literal_are_doubled() -> None:
    assert literal("it's") == "'it''s'"


@pytest.mark.parametrize("text", ["a\0b", "a\\b"])
def test_a_literal_that_could_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NUL nor backslash"):
        literal(text)
