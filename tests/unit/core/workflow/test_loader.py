import pytest

from headrace_core.workflow.document import Document, Span, from_data
from headrace_core.workflow.loader import TEXT_BYTES_MAX, load


def _codes(text: str | bytes) -> list[str]:
    return [fault.code for fault in load(text)[1]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("~", None),
        ("", None),
        ("True", True),
        ("'true'", "true"),
        ('"\\u00e9"', "é"),
    ],
)
def test_scalars_are_read_as_in_yaml_1_2(text: str, value: object) -> None:
    document, faults = load(f"key: {text}\n")
    assert faults == []
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)


def test_keys_are_texts_as_they_are_written() -> None:
    assert load("{200: ok, true: x, null: y}")[0].data == {"200": "ok", "true": "x", "null": "y"}


def test_every_key_and_value_has_its_place() -> None:
    document, _ = load("steps:\n  a:\n    needs: [b, 'c d']\n")
    path = ("steps", "a", "needs")
    assert document.key_span(path) == Span(3, 5, 10)
    assert document.value_span((*path, 1)) == Span(3, 16, 21)


def test_what_has_no_place_takes_the_place_around_it() -> None:
    document, _ = load("steps:\n  a: {set: {}}\n")
    assert document.key_span(("steps", "a", "needs", 0)) == document.key_span(("steps", "a"))


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("x: from here on\n", Span(1, 9, 13)),
        ("x: 'from here on'\n", Span(1, 10, 14)),
        ("x: |\n  from here on\n", Span(2, 8, 12)),
        ("x: |\n  first\n  from here on\n", Span(3, 8, 12)),
        # The text is joined from two lines, so only its beginning is certain.
        ("x: from\n  here on\n", Span(1, 4, 8)),
    ],
)
def test_a_part_of_a_text_is_found_in_the_source(text: str, span: Span) -> None:
    document, _ = load(text)
    value = document.data["x"]
    assert document.span_inside(("x",), value, value.index("here"), 4) == span


def test_all_faults_of_a_text_are_found_at_once() -> None:
    assert _codes("a: 1\na: 2\nb: !x 3\n<<: {}\nc: .nan\n") == [
        "HR-1002",
        "HR-1003",
        "HR-1005",
        "HR-1008",
    ]


def test_an_alias_stands_for_its_value_and_is_shown_where_it_stands() -> None:
    document, faults = load("a: &x {k: [1, 2]}\nb: *x\n")
    assert faults == []
    assert document.data["b"] == {"k": [1, 2]}
    assert document.value_span(("b", "k", 1)) == Span(2, 4, 6)


def test_a_bomb_of_aliases_is_refused_before_it_is_built() -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 5)}]\n" for n in range(1, 10))
    assert _codes("l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n" + levels) == ["HR-1006"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "a: " + "x" * TEXT_BYTES_MAX,
        "a: " + "é" * (TEXT_BYTES_MAX // 2),
        b"a: " + b"x" * 10_000_000,
        "[" * 1_000,
        "- x\n" * 60_000,
    ],
    ids=["characters", "bytes of characters", "ten megabytes", "depth", "values"],
)
def test_a_text_beyond_the_bounds_is_refused(text: str | bytes) -> None:
    assert _codes(text) == ["HR-1006"]


def test_bytes_that_are_no_utf_8_are_refused() -> None:
    assert _codes(b"a: \xff") == ["HR-1001"]


def test_a_byte_order_mark_is_no_text() -> None:
    assert load(b"\xef\xbb\xbfa: 1\n")[0].data == {"a": 1}


def test_a_decoded_document_obeys_the_same_bounds() -> None:
    deep: object = 1
    for _ in range(70):
        deep = [deep]
    assert [fault.code for fault in from_data({"a": deep})[1]] == ["HR-1006"]
    assert [fault.code for fault in from_data({"a": 2**53})[1]] == ["HR-1008"]
    assert [fault.code for fault in from_data({"a": float("nan")})[1]] == ["HR-1008"]


def test_a_document_without_text_has_no_places() -> None:
    document: Document = from_data({"a": 1})[0]
    assert document.key_span(("a",)) is None
