"""Each broken definition gives exactly its faults, as they are printed.

To add one, write `broken/<name>.flow.yaml` and, beside it, `<name>.faults` with what it should
say. A change of words shows up here as a change of what people read.
"""

from pathlib import Path

import pytest

from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.fault import CODES, render_faults
from headrace_core.workflow.plan import Plan
from tests.unit.core.workflow.catalogue import CATALOGUE

BROKEN = sorted(Path(__file__).with_name("broken").glob("*.flow.yaml"))


def _expected(path: Path) -> str:
    return path.with_name(path.name.replace(".flow.yaml", ".faults")).read_text()


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.name.removesuffix(".flow.yaml"))
def test_a_broken_definition_gives_exactly_its_faults(path: Path) -> None:
    text = path.read_text()
    result = compile_definition(text, CATALOGUE)
    assert not isinstance(result, Plan), "it compiles"
    assert render_faults(result, text, path.name) == _expected(path)


def test_the_corpus_has_at_least_eighty_definitions() -> None:
    assert len(BROKEN) >= 80


def test_every_code_occurs_in_the_corpus() -> None:
    seen = "".join(_expected(path) for path in BROKEN)
    assert [code for code in CODES if f"error[{code}]" not in seen] == []


def test_every_fault_says_what_to_do() -> None:
    for path in BROKEN:
        result = compile_definition(path.read_text(), CATALOGUE)
        assert not isinstance(result, Plan)
        assert all(fault.remedy and fault.code in CODES for fault in result), path.name


def test_the_order_of_faults_is_the_order_of_their_places() -> None:
    for path in BROKEN:
        result = compile_definition(path.read_text(), CATALOGUE)
        assert not isinstance(result, Plan)
        places = [(fault.line, fault.column) for fault in result]
        assert places == sorted(places), path.name
