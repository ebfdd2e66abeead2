"""The page of each code shows a definition that has the fault, and one that is mended."""

import re
from pathlib import Path

import pytest

from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.fault import CODES, render_faults
from headrace_core.workflow.plan import Plan
from tests.unit.core.workflow.catalogue import CATALOGUE

PAGES = Path(__file__).parents[4] / "docs" / "errors"
SNIPPET = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def _page(code: str) -> str:
    return (PAGES / f"{code}.md").read_text()


def test_every_page_of_a_definition_fault_belongs_to_a_code() -> None:
    assert {path.stem for path in PAGES.glob("HR-1*.md")} == set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_the_page_is_headed_by_what_the_code_means(code: str) -> None:
    assert _page(code).startswith(f"# {code}: {CODES[code]}\n")


@pytest.mark.parametrize("code", CODES)
def test_the_faulty_snippet_has_the_fault_and_the_mended_one_has_none(code: str) -> None:
    *faulty, mended = SNIPPET.findall(_page(code))
    for snippet in faulty:
        result = compile_definition(snippet, CATALOGUE)
        assert not isinstance(result, Plan)
        assert code in {fault.code for fault in result}, render_faults(result, snippet, "snippet")
    result = compile_definition(mended, CATALOGUE)
    assert isinstance(result, Plan), render_faults(result, mended, "snippet")
