"""Definitions on disk: which are meant, in which order, and what compiling them offline finds."""

from pathlib import Path

import pytest
import typer

from headrace_cli.flow_files import OfflineCompiler, callees_first, read_flow_files
from headrace_cli.rendering.style import PLAIN, Style
from headrace_cli.verdict import render_verdict, verdict_document, verdict_line

LEAF = """\
flow: v1
name: {name}
inputs:
  n: {{type: integer}}
steps:
  keep: {{set: {{n: "${{{{ inputs.n }}}}"}}}}
outputs:
  n: "${{{{ steps.keep.output.n }}}}"
"""
CALLER = """\
flow: v1
name: {name}
steps:
  call: {{uses: flow/{callee}@stable, with: {{n: {argument}}}}}
"""


def write(folder: Path, name: str, text: str, suffix: str = ".flow.yaml") -> Path:
    path = folder / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def caller(name: str, callee: str, argument: str = "1") -> str:
    return CALLER.format(name=name, callee=callee, argument=argument)


def test_a_folder_stands_for_every_definition_below_it(tmp_path: Path) -> None:
    write(tmp_path, "b", LEAF.format(name="b"))
    write(tmp_path / "deep" / "er", "a", LEAF.format(name="a"), ".flow.yml")
    (tmp_path / "notes.yaml").write_text("flow: v1", encoding="utf-8")
    assert [file.name for file in read_flow_files([tmp_path])] == ["b", "a"]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, "a", LEAF.format(name="a"))
    assert len(read_flow_files([path, tmp_path, path])) == 1


def test_a_file_of_any_name_is_taken_when_it_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a", LEAF.format(name="a"), ".yml")
    assert [file.name for file in read_flow_files([path])] == ["a"]


def test_a_path_that_is_not_there_and_a_folder_without_definitions_are_named(
    tmp_path: Path,
) -> None:
    with pytest.raises(typer.BadParameter, match=r"gone\.yaml cannot be read: No such file"):
        read_flow_files([tmp_path / "gone.yaml"])
    with pytest.raises(typer.BadParameter, match=r"holds no file named \*\.flow\.yaml"):
        read_flow_files([tmp_path])


def test_called_flows_come_before_their_callers(tmp_path: Path) -> None:
    write(tmp_path, "a-top", caller("a-top", "b-middle"))
    write(tmp_path, "b-middle", caller("b-middle", "c-leaf"))
    write(tmp_path, "c-leaf", LEAF.format(name="c-leaf"))
    ordered = callees_first(read_flow_files([tmp_path]))
    assert [file.name for file in ordered] == ["c-leaf", "b-middle", "a-top"]


def test_flows_that_call_each_other_keep_their_order(tmp_path: Path) -> None:
    write(tmp_path, "a", caller("a", "b"))
    write(tmp_path, "b", caller("b", "a"))
    assert {file.name for file in callees_first(read_flow_files([tmp_path]))} == {"a", "b"}


def test_a_called_flow_is_found_beside_its_caller(tmp_path: Path) -> None:
    path = write(tmp_path, "top", caller("top", "leaf"))
    write(tmp_path, "leaf", LEAF.format(name="leaf"))
    files = read_flow_files([path])
    checked = OfflineCompiler(files).check(files[0])
    assert checked.plan is not None
    assert checked.faults == ()


def test_arguments_are_checked_against_the_called_flow(tmp_path: Path) -> None:
    write(tmp_path, "leaf", LEAF.format(name="leaf"))
    path = write(tmp_path, "top", caller("top", "leaf", "text"))
    files = read_flow_files([path])
    [fault] = OfflineCompiler(files).check(files[0]).faults
    assert (fault.code, fault.line) == ("HR-1403", 4)


@pytest.mark.parametrize("callee", ["nowhere", "top"])
def test_a_flow_that_is_missing_or_calls_itself_does_not_resolve(
    tmp_path: Path, callee: str
) -> None:
    files = read_flow_files([write(tmp_path, "top", caller("top", callee))])
    [fault] = OfflineCompiler(files).check(files[0]).faults
    assert fault.code == "HR-1401"


def test_faults_are_printed_as_a_compiler_prints_them(tmp_path: Path) -> None:
    path = write(tmp_path, "a", LEAF.format(name="a").replace("inputs.n", "inputs.m"))
    files = read_flow_files([path])
    checked = [OfflineCompiler(files).check(files[0])]
    text = render_verdict(checked, PLAIN)
    first, line, caret, remedy = text.splitlines()
    assert first.startswith(f"{path}:6:31: error[HR-1303]: ")
    assert line == '  6 |   keep: {set: {n: "${{ inputs.m }}"}}'
    assert caret.strip(" |") == "^"
    assert remedy.startswith("  help: ")
    assert verdict_line(checked) == "1 fault in 1 of 1 file"
    painted = render_verdict(checked, Style(colours=True))
    assert "\x1b[31merror[HR-1303]" in painted


def test_a_verdict_for_programs_has_every_fault_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, "a", LEAF.format(name="a"))
    write(tmp_path, "b", "flow: v1\nname: b\nsteps: {}\nstep: {}\n")
    files = read_flow_files([tmp_path])
    compiler = OfflineCompiler(files)
    document = verdict_document([compiler.check(file) for file in files])
    good, bad = document["files"]
    assert document["valid"] is False
    assert (good["name"], good["valid"], len(good["hash"]), good["faults"]) == ("a", True, 64, [])
    assert (bad["valid"], bad["hash"]) == (False, None)
    assert {"code", "message", "remedy", "path", "line", "column", "end"} == set(bad["faults"][0])
