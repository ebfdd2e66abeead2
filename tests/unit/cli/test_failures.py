"""How commands fail: the text, the document and the exit code."""

import json

import pytest

from headrace_cli.api_client import DefinitionRefused, problem_error
from headrace_cli.console import Console
from headrace_cli.exit_code import MEANINGS, ExitCode, exit_code_of
from headrace_cli.failure import failure_document, failure_text, report
from headrace_core.errors import (
    BrokenChain,
    Forbidden,
    HeadraceError,
    InvalidInput,
    InvalidState,
    KeyErased,
    KeyReused,
    NotFound,
    SetupError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownEvent,
)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (NotFound, ExitCode.REFUSED),
        (InvalidInput, ExitCode.REFUSED),
        (InvalidState, ExitCode.REFUSED),
        (KeyReused, ExitCode.REFUSED),
        (TooLarge, ExitCode.REFUSED),
        (HeadraceError, ExitCode.REFUSED),
        (Unavailable, ExitCode.UNREACHABLE),
        (Unauthenticated, ExitCode.NOT_ALLOWED),
        (Forbidden, ExitCode.NOT_ALLOWED),
        (BrokenChain, ExitCode.NOT_AUTHENTIC),
        (UnknownEvent, ExitCode.NOT_AUTHENTIC),
        (KeyErased, ExitCode.NOT_AUTHENTIC),
        (SetupError, ExitCode.SETUP),
    ],
)
def test_an_exit_code_says_what_kind_of_failure_it_was(
    fault: type[HeadraceError], code: ExitCode
) -> None:
    assert exit_code_of(fault("why")) is code


def test_every_exit_code_has_its_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)


def test_a_failure_names_its_code_and_every_fault() -> None:
    fault = InvalidInput("The input does not fit.", ["input.name: 3 is no string", "input.x: no"])
    assert failure_text(fault) == (
        "headrace: HR-2005: The input does not fit.\n  input.name: 3 is no string\n  input.x: no"
    )
    assert failure_document(fault) == {
        "code": "HR-2005",
        "message": "The input does not fit.",
        "faults": ["input.name: 3 is no string", "input.x: no"],
    }


def test_a_refused_definition_is_shown_as_the_service_rendered_it() -> None:
    fault = problem_error(
        {
            "code": "HR-2005",
            "detail": "The definition has a fault.",
            "rendered": "a.yaml:1:1: error[HR-1101]: unknown key\n",
            "diagnostics": [{"code": "HR-1101"}],
            "faults": ["a.yaml:1:1"],
        }
    )
    assert isinstance(fault, DefinitionRefused)
    assert failure_text(fault) == (
        "a.yaml:1:1: error[HR-1101]: unknown key\nheadrace: HR-2005: The definition has a fault."
    )
    assert failure_document(fault)["diagnostics"] == [{"code": "HR-1101"}]


@pytest.mark.parametrize(
    ("code", "kind"),
    [("HR-2003", NotFound), ("HR-2007", Unavailable), ("HR-2001", Unauthenticated)],
)
def test_a_problem_becomes_the_error_that_it_names(code: str, kind: type[HeadraceError]) -> None:
    fault = problem_error({"code": code, "detail": "why"})
    assert type(fault) is kind
    assert fault.message == "why"


def test_a_problem_of_a_newer_service_keeps_its_text() -> None:
    fault = problem_error({"code": "HR-2999", "detail": "something new"})
    assert failure_text(fault) == "headrace: something new"


def test_with_json_the_failure_is_the_document_on_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert report(Console(as_json=True), NotFound("There is no run.")) is ExitCode.REFUSED
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"code": "HR-2003", "message": "There is no run."}}
    assert err == "headrace: HR-2003: There is no run.\n"


def test_without_json_stdout_stays_empty(capsys: pytest.CaptureFixture[str]) -> None:
    report(Console(), NotFound("There is no run."))
    assert capsys.readouterr().out == ""
