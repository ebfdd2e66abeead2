"""`headrace test`: what it says of cases that hold, that fail, and that are no cases."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.command import headrace

FLOW = """\
flow: v1
name: pay
inputs:
  amount: {type: integer}
steps:
  begin: {set: {ready: true}}
  ask:
    when: inputs.amount > 100
    approval: {assignees: [bob], expires: 1d}
  charge:
    needs: [begin, ask]
    join: settled
    uses: http.post@1
    with: {url: https://pay.example.com, body: {amount: "${{ inputs.amount }}"}}
    retry: {max_attempts: 3, on: [network], backoff: {initial: 1s, jitter: none}}
    timeout: 10s
  refund:
    needs: [charge.error]
    set: {refunded: true}
outputs:
  paid: ${{ steps.charge.output.paid }}
"""
HOLDS = """\
cases:
  it is charged after two faults:
    given:
      inputs: {amount: 200}
      steps:
        ask: {decision: approved, after: 1h}
        charge:
          - {error: {type: network}}
          - {error: {type: network}}
          - {output: {paid: 200}}
    expect:
      path: [ask, begin, charge]
      outputs: {paid: 200}
      took: 1h3s
      steps: {charge: {attempts: 3}}
"""


def write(folder: Path, cases: str, flow: str = FLOW) -> Path:
    folder.joinpath("pay.cases.yaml").write_text(cases, encoding="utf-8")
    path = folder / "pay.flow.yaml"
    path.write_text(flow, encoding="utf-8")
    return path


def case(given: str, expect: str) -> str:
    return f"cases:\n  one:\n    given: {given}\n    expect: {expect}\n"


def test_cases_that_hold_are_counted(tmp_path: Path) -> None:
    done = headrace("test", str(write(tmp_path, HOLDS)))
    assert done.exit_code == 0
    assert "ok    it is charged after two faults" in done.stdout
    assert "1 case passed" in done.stderr


def test_a_folder_stands_for_the_flows_in_it_and_those_without_cases_are_named(
    tmp_path: Path,
) -> None:
    write(tmp_path, HOLDS)
    tmp_path.joinpath("bare.flow.yaml").write_text(FLOW.replace("pay\n", "bare\n"))
    done = headrace("test", str(tmp_path))
    assert done.exit_code == 0
    assert f"Without cases: {tmp_path / 'bare.flow.yaml'}" in done.stderr


def test_a_case_that_fails_shows_every_difference_and_what_happened(tmp_path: Path) -> None:
    cases = HOLDS.replace("path: [ask, begin, charge]", "path: [charge]").replace("1h3s", "5s")
    cases = cases.replace("attempts: 3", "attempts: 2, with: {url: here, body: {amount: 200}}")
    done = headrace("test", str(write(tmp_path, cases.replace("{paid: 200}\n", "{paid: 1}\n"))))
    assert done.exit_code == 1
    assert "FAIL  it is charged after two faults (line 2)" in done.stdout
    for line in (
        "path: expected charge",
        "got ask, begin, charge",
        "outputs.paid: expected 1, got 200",
        "took: expected 5s, got 1h3s",
        "steps.charge.attempts: expected 2, got 3",
        'steps.charge.with.url: expected "here", got "https://pay.example.com"',
        "ask     succeeded  it succeeded by port approved",
        "refund  skipped    a way that it needs was not taken",
    ):
        assert line in done.stdout
    assert "1 case, 1 failed" in done.stderr


def test_a_run_that_ends_otherwise_says_why(tmp_path: Path) -> None:
    given = "{inputs: {amount: 1}, steps: {charge: {error: {type: http.402, message: no money}}}}"
    done = headrace("test", str(write(tmp_path, case(given, "{outputs: {paid: 1}}"))))
    assert done.exit_code == 1
    assert "run: expected succeeded, got failed (http.402: no money)" in done.stdout


def test_a_call_that_nobody_answers_is_named(tmp_path: Path) -> None:
    done = headrace("test", str(write(tmp_path, case("{inputs: {amount: 1}}", "{}"))))
    assert done.exit_code == 1
    assert "Step 'charge' of 'pay' calls http.post@1, and nothing is called here" in done.stdout


def test_a_run_that_nothing_brings_on_is_waiting(tmp_path: Path) -> None:
    flow = FLOW.replace(", expires: 1d", "")
    path = write(
        tmp_path, case("{inputs: {amount: 101}}", "{run: waiting, path: [ask, begin]}"), flow
    )
    assert headrace("test", str(path)).exit_code == 0


@pytest.mark.parametrize(
    ("answer", "attempts"),
    [
        ("{output: {paid: 1}, after: 11s}", 1),
        ("{error: {type: unknown_outcome}}", 1),
        ("[{error: {type: network}}, {output: {paid: 1}, after: 11s}]", 2),
    ],
)
def test_of_a_charge_that_did_not_answer_in_time_nobody_knows_the_outcome(
    tmp_path: Path, answer: str, attempts: int
) -> None:
    given = f"{{inputs: {{amount: 1}}, steps: {{charge: {answer}}}}}"
    expect = f"{{run: failed, steps: {{charge: {{attempts: {attempts}}}}}, "
    expect += "error: {type: unknown_outcome}, path: [begin, charge, refund]}"
    done = headrace("test", str(write(tmp_path, case(given, expect))))
    assert (done.exit_code, done.stdout.count("FAIL")) == (0, 0), done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{inputs: {amount: much}}", "amount: "),
        ("{inputs: {}}", "amount: this input is required"),
        (
            "{inputs: {amount: 1}, steps: {chrage: {output: 1}}}",
            "`given` answers for step 'chrage', which 'pay' lacks",
        ),
        (
            "{inputs: {amount: 1}, flows: {other: {}}}",
            "`given.flows` names 'other', which 'pay' does not call",
        ),
    ],
)
def test_a_case_that_does_not_fit_its_flow_fails_by_name(
    tmp_path: Path, given: str, said: str
) -> None:
    done = headrace("test", str(write(tmp_path, case(given, "{}"))))
    assert done.exit_code == 1
    assert said in done.stdout


@pytest.mark.parametrize(
    ("cases", "line", "said"),
    [
        ("cases: {}\n", 1, "cases"),
        (case("{input: {}}", "{}"), 3, "unknown key 'input'"),
        (case("{inputs: {amount: 1}}", "{run: happy}"), 4, "may not be 'happy'"),
        ("cases:\n  one:\n    given: {}\n", 2, "lacks the key 'expect'"),
        (case("{steps: {ask: {after: 1h}}}", "{}"), 3, "either output, error or decision"),
        (case("{steps: {charge: [{output: 1, after: soon}]}}", "{}"), 3, "duration"),
        (case("{at: yesterday}", "{}"), 3, "`at` is no RFC 3339 time"),
        ("cases: [\n", 1, "error[HR-1001]"),
    ],
)
def test_a_fault_of_the_file_of_cases_is_shown_with_its_line(
    tmp_path: Path, cases: str, line: int, said: str
) -> None:
    done = headrace("test", str(write(tmp_path, cases)))
    assert done.exit_code == 1
    assert f"{tmp_path / 'pay.cases.yaml'}:{line}:" in done.stderr
    assert said in done.stderr


def test_a_flow_with_faults_shows_them(tmp_path: Path) -> None:
    done = headrace(
        "test", str(write(tmp_path, HOLDS, FLOW.replace("begin, ask]", "begin, asks]")))
    )
    assert done.exit_code == 1
    assert f"{tmp_path / 'pay.flow.yaml'}:11:" in done.stderr


def test_only_picks_cases_by_their_name_and_none_is_a_mistake(tmp_path: Path) -> None:
    path = str(write(tmp_path, HOLDS + case("{inputs: {amount: 1}}", "{}").split("\n", 1)[1]))
    assert headrace("test", "--only", "charged", path).exit_code == 0
    assert headrace("test", path).exit_code == 1
    done = headrace("test", "--only", "nothing", path)
    assert done.exit_code == 2
    assert "No case has 'nothing' in its name" in done.stderr


def test_programs_get_every_case_with_its_events(tmp_path: Path) -> None:
    done = headrace("test", "--json", str(write(tmp_path, HOLDS)))
    document = json.loads(done.stdout)
    [only] = document["cases"]
    assert document["passed"] is True
    assert (only["name"], only["line"], only["passed"]) == (
        "it is charged after two faults",
        2,
        True,
    )
    kinds = [event["kind"] for event in only["events"]]
    assert kinds[0] == "RunStarted" and kinds[-1] == "RunSucceeded"
    assert kinds.count("StepRetryScheduled") == 2
