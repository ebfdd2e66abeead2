"""The quick reader of plain YAML gives what the full parser gives, or leaves the text to it."""

import random
from pathlib import Path

import pytest

from headrace_core.workflow.loader import load, load_fully
from headrace_core.workflow.plain_yaml import read_plain

HERE = Path(__file__).parent
EXAMPLES = sorted(HERE.parents[3].joinpath("examples").glob("*.flow.yaml"))
FLOWS = [*EXAMPLES, *sorted(HERE.glob("**/*.yaml"))]

EVERYTHING_PLAIN = """# A comment
flow: v1
name: plain

steps:
  a:
    needs:
    - b
    - c:  # a comment
    -
      d: 1
    - - e
      - f
    -   g: "x # y"
        h: 'it''s'
    set: {x: [1, 2.5, {y: z}, "a, b", 'c: d'], when: a > 3 && b == 'c', e: {}, f: []}
  b:
    text: |
      hello
        world

      end
    more: |-
      x # no comment

    url: http://x.y/z#part?a=b  # a comment
    nothing:
    tilde: ~
    minus: -5
    dash: -x
    template: ${{ steps.a.output.x }}
  "c d": on
  "é": ü — €
"""
TOKENS = (
    *("- ", "? ", "--- ", "\n---\n", "...\n", "&a ", "*a ", "!!str ", "|\n", "  ", ": ", ">-\n"),
    *("''", "#", " #", ": |\n", "|-", "\n\n", "\n  ", "- - ", "{}", "[]", "{a: 1}", "<<: 1\n"),
    *("null", "- a: 1\n", "\n    - x\n", "\n   \n", "0x1F", "1e999", ",", "a: b: c", '"\\x41"'),
    *"abc:-{}[]'\"|>&*!%#@`,? \n0.~<=\\/ü\u2028\x85\ufeff\t\r😀€",
)


def same(text: str) -> bool:
    """Whether it was read here; and if so, as the full parser reads it."""
    read = read_plain(text)
    if read is None:
        return False
    document, faults = load_fully(text)
    assert (document, faults) == (read, []), repr(text)
    return True


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.name)
def test_a_definition_is_the_same_by_both_with_every_place(path: Path) -> None:
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        pytest.skip("it is not UTF-8, which is what it is there for")
    same(text)


def test_hardly_an_example_needs_the_full_parser() -> None:
    read = [path for path in EXAMPLES if read_plain(path.read_text()) is not None]
    assert len(read) >= 0.9 * len(EXAMPLES)


def test_all_that_is_plain_is_read_here() -> None:
    assert same(EVERYTHING_PLAIN)


@pytest.mark.parametrize(
    "text",
    [
        *("", "# only\n", "- a\n", "a\n", "a: b: c\n", "a: 1\na: 2\n", "<<: {a: 1}\n", "a:\tb\n"),
        *("a: &x 1\n", "a: *x\n", "a: !!str 1\n", "a: >\n  b\n", "a: b\n  c\n", "a: 1e999\n"),
        *('a: "\\x41"\n', "a: {b: 1,}\n", "a: {b: 1,\n c: 2}\n", "a: [b: 1]\n", "a: {b}\n"),
        *("a: |\n  b", "a: |2\n  b\n", "? a\n: b\n", " a: 1\n", "a:\n  b: 1\n c: 2\n"),
        *("a: {b: 1} c\n", "a: 'b' c\n", "a: - b\n", "a: 1\n- b\n", "a: @x\n", "%YAML 1.1\n"),
        *("---\na: 1\n", f"{'k' * 2_000}: 1\n"),
    ],
)  # fmt: skip
def test_what_is_not_plain_or_wrong_is_left_to_the_full_parser(text: str) -> None:
    assert read_plain(text) is None
    assert load(text) == load_fully(text)


@pytest.mark.slow
def test_bounds_are_those_of_the_full_parser() -> None:
    for text in (f"a: {'[' * 70}{']' * 70}\n", f"a: [{'1, ' * 50_000}1]\n"):
        assert read_plain(text) is None
        assert [fault.code for fault in load(text)[1]] == ["HR-1006"]


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_definition_is_the_same_by_both_or_left_alone(seed: int) -> None:
    rng = random.Random(seed)
    texts = [EVERYTHING_PLAIN, *(path.read_text() for path in EXAMPLES)]
    read = sum(same(_damaged(rng, rng.choice(texts))) for _ in range(150))
    assert read > 15, "too few were read here to say anything"


def _damaged(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    first = rng.randrange(len(lines))
    piece = lines[first : first + rng.randint(1, 20)]
    depth = min((len(line) - len(line.lstrip()) for line in piece if line.strip()), default=0)
    damaged = "\n".join(line[depth:] for line in piece)
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(damaged) + 1)
        removed = rng.choice((0, 0, 1, 2))
        damaged = damaged[:at] + rng.choice(("", *TOKENS)) + damaged[at + removed :]
    return damaged


def test_a_long_line_costs_no_more_than_its_length() -> None:
    """Each of them would take minutes if a pattern went back and forth."""
    for value in ("b" + " " * 200_000 + "c:", "'" * 200_001, "{a: b" + " c" * 100_000):
        assert read_plain(f"a: {value}\n") is None
