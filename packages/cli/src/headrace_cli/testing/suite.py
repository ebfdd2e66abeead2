"""Flows on disk with the cases beside them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import typer

from headrace_cli.flow_files import SUFFIXES, OfflineCompiler, read_flow_files
from headrace_cli.rendering.style import PLAIN
from headrace_cli.testing import case_file
from headrace_cli.testing.case_file import Case
from headrace_cli.testing.judge import differences
from headrace_cli.testing.play import play
from headrace_cli.testing.report import Judged
from headrace_cli.verdict import render_verdict
from headrace_core.errors import InvalidInput
from headrace_core.ids import PlanHash
from headrace_core.workflow.fault import render_faults
from headrace_core.workflow.plan import Plan


@dataclass(frozen=True, slots=True)
class Suite:
    """`plans` are the flow's own and those that it calls, at any depth."""

    file: str
    cases: Mapping[str, Case]
    lines: Mapping[str, int]
    plan: Plan
    plans: Mapping[PlanHash, Plan]


class CasesRefused(InvalidInput):
    """Faults of a flow or of its cases, each with its line."""


def find_suites(paths: Sequence[Path]) -> tuple[list[Suite], list[str]]:
    """Flows that have cases, and the names of the files of those that have none.

    Raises CasesRefused for faults in either, typer.BadParameter for what cannot be read.
    """
    files = read_flow_files(paths)
    compiler = OfflineCompiler(files)
    suites: list[Suite] = []
    without: list[str] = []
    for file in files:
        beside = _cases_of(Path(file.shown))
        if not beside.is_file():
            without.append(file.shown)
            continue
        checked = compiler.check(file)
        if checked.plan is None:
            raise CasesRefused(f"a flow has faults\n{render_verdict([checked], PLAIN)}")
        found, faults, text = case_file.read_cases(beside)
        if found is None:
            raise CasesRefused(f"cases have faults\n{render_faults(faults, text, str(beside))}")
        lines = case_file.lines_of(beside)
        suites.append(Suite(str(beside), found.cases, lines, checked.plan, compiler.plans()))
    if not files:
        raise typer.BadParameter("No flow is named.")
    return suites, without


def judged_cases(suite: Suite, only: str = "") -> Iterator[Judged]:
    for name, case in suite.cases.items():
        if only in name:
            yield _judged(suite, name, case)


def _judged(suite: Suite, name: str, case: Case) -> Judged:
    began_s = perf_counter()
    played, found = None, list[str]()
    try:
        played = play(case, suite.plan, suite.plans)
        found = differences(case.expect, played)
    except InvalidInput as fault:
        found = [fault.message, *fault.faults]
    took_ms = (perf_counter() - began_s) * 1_000
    return Judged(suite.file, suite.lines.get(name, 0), name, found, played, took_ms)


def _cases_of(flow: Path) -> Path:
    name = flow.name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return flow.with_name(name + case_file.SUFFIX)
