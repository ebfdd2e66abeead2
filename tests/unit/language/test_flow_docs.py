"""Every snippet of docs/flows: a flow compiles, and the cases that follow one are played."""

import re
from pathlib import Path

import pytest

from headrace_cli.testing.suite import find_suites, judged_cases

DOCS = Path(__file__).parents[3] / "docs/flows"
EXAMPLES = Path(__file__).parents[3] / "examples"
PAGES = sorted(DOCS.glob("*.md"))
CALLED = {"greet": "name", "hello": "name", "notify": "text"}
"""What snippets call: an example, or a flow with this input."""


def snippets(page: Path) -> list[tuple[str, str]]:
    """(flow, cases) of each flow on a page; the cases stand in the next block, if there are any."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    found: list[tuple[str, str]] = []
    for block in blocks:
        if block.startswith("flow: v1"):
            found.append((block, ""))
        elif block.startswith("cases:") and found and not found[-1][1]:
            found[-1] = (found[-1][0], block)
    return found


SNIPPETS = [
    pytest.param(flow, cases, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, (flow, cases) in enumerate(snippets(page), start=1)
]


def test_the_pages_teach_by_flows_and_most_of_them_are_played() -> None:
    played = [one for one in SNIPPETS if one.values[1]]
    assert len(SNIPPETS) >= 12 and len(played) >= 8


@pytest.mark.parametrize(("flow", "cases"), SNIPPETS)
def test_a_snippet_compiles_and_does_what_its_cases_say(
    tmp_path: Path, flow: str, cases: str
) -> None:
    for name, field in CALLED.items():
        known = EXAMPLES / f"{name}.flow.yaml"
        called = f"flow: v1\nname: {name}\ninputs: {{{field}: {{type: string}}}}\n"
        called += "steps: {a: {set: {}}}\n"
        text = known.read_text() if known.exists() else called
        tmp_path.joinpath(known.name).write_text(text)
    path = tmp_path / "snippet.flow.yaml"
    path.write_text(flow)
    # A flow without cases is compiled for the sake of one that nobody plays.
    tmp_path.joinpath("snippet.cases.yaml").write_text(cases or "cases: {none: {expect: {}}}")
    suites, _ = find_suites([path])
    judged = [one for suite in suites if cases for one in judged_cases(suite)]
    assert [(one.name, list(one.differences)) for one in judged if not one.holds] == []


def test_every_page_is_reached_from_the_first_one() -> None:
    index = DOCS.joinpath("README.md").read_text()
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert linked == {page.name for page in PAGES} - {"README.md"}
