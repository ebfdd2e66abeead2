"""Every example has cases beside it, and they hold."""

from pathlib import Path

import pytest

from headrace_cli.testing.suite import Suite, find_suites, judged_cases

EXAMPLES = Path(__file__).parents[3] / "examples"
FLOWS = sorted(EXAMPLES.glob("*.flow.yaml"))
SUITES, WITHOUT = find_suites(FLOWS)


def test_no_example_is_without_cases() -> None:
    assert WITHOUT == []
    assert len(SUITES) == len(FLOWS)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.plan.flow)
def test_the_cases_of_an_example_hold(suite: Suite) -> None:
    judged = list(judged_cases(suite))
    assert judged
    assert [(one.name, list(one.differences)) for one in judged if not one.holds] == []
