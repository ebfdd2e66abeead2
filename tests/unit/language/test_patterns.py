"""The table of control-flow patterns in docs/flows/semantics.md, row by row."""

import re
from pathlib import Path

import pytest

from headrace_cli.flow_files import OfflineCompiler, read_flow_files
from headrace_cli.testing.case_file import read_cases
from headrace_cli.testing.suite import Suite, find_suites, judged_cases

ROOT = Path(__file__).parents[3]
TABLE = (ROOT / "docs/flows/semantics.md").read_text()
FLOWS = ROOT / "tests/flows"
LINK = r"\[([\w-]+)\]\(\.\./\.\./tests/flows/"
CARRIED = re.findall(LINK + r"patterns/\1\.cases\.yaml\) \|$", TABLE, re.MULTILINE)
REFUSED = re.findall(
    r"\| (HR-\d+) \| " + LINK + r"refused/\2\.flow\.yaml\) \|$", TABLE, re.MULTILINE
)
SUITES, WITHOUT = find_suites([FLOWS / "patterns"])


def test_every_flow_has_its_row_and_every_row_its_flow() -> None:
    assert WITHOUT == []
    assert sorted(CARRIED) == sorted(suite.plan.flow for suite in SUITES)
    refused = FLOWS.joinpath("refused").glob("*.flow.yaml")
    names = sorted(path.name.removesuffix(".flow.yaml") for path in refused)
    assert sorted(name for _, name in REFUSED) == names
    assert len(CARRIED) >= 20 and len(REFUSED) >= 5


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.plan.flow)
def test_a_pattern_leaves_the_trace_that_its_cases_say(suite: Suite) -> None:
    judged = list(judged_cases(suite))
    assert [(one.name, list(one.differences)) for one in judged if not one.holds] == []


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.plan.flow)
def test_a_pattern_has_an_expected_trace(suite: Suite) -> None:
    found, faults, _ = read_cases(Path(suite.file))
    assert found is not None, faults
    assert any(case.expect.path is not None for case in found.cases.values())


@pytest.mark.parametrize(("code", "name"), REFUSED)
def test_what_is_refused_is_refused_with_its_code(code: str, name: str) -> None:
    files = read_flow_files([FLOWS / "refused" / f"{name}.flow.yaml"])
    checked = OfflineCompiler(files).check(files[0])
    assert [fault.code for fault in checked.faults] == [code]
