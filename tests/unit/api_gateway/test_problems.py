import pytest

from headrace_api_gateway.domain.problems import (
    DefinitionRefused,
    InternalFault,
    MethodNotAllowed,
    problem_of,
    status_of,
)
from headrace_core import errors
from headrace_core.errors import (
    HeadraceError,
    InvalidInput,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.resolution import Catalogue

PATH = "/v1/runs"


def test_a_problem_names_its_code_its_page_and_the_path() -> None:
    problem = problem_of(NotFound("There is no run x."), PATH)
    assert problem.status == 404
    assert problem.document == {
        "type": f"docs/errors/{NotFound.code}.md",
        "title": "Not found",
        "status": 404,
        "detail": "There is no run x.",
        "instance": PATH,
        "code": NotFound.code,
    }


def test_all_faults_of_an_input_stand_in_the_problem() -> None:
    problem = problem_of(InvalidInput("It does not fit.", ["a: missing", "b: unknown"]), PATH)
    assert problem.document["faults"] == ("a: missing", "b: unknown")


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (Unavailable("later"), ("retry-after", "1")),
        (Unauthenticated("who"), ("www-authenticate", "Bearer")),
        (MethodNotAllowed("no", "GET, POST"), ("allow", "GET, POST")),
    ],
)
def test_what_the_client_does_next_stands_in_a_header(
    error: HeadraceError, header: tuple[str, str]
) -> None:
    assert dict([header]).items() <= dict(problem_of(error, PATH).headers).items()


def test_an_error_that_nobody_foresaw_is_a_500_with_its_incident() -> None:
    problem = problem_of(InternalFault("8f2c"), PATH)
    assert problem.status == 500 and "8f2c" in str(problem.document["detail"])


def test_every_error_of_the_tree_has_an_answer() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, HeadraceError)
    ]
    for kind in kinds:
        status, title = status_of(kind.__new__(kind))
        assert 400 <= status < 600 and title


def test_a_refused_definition_shows_every_fault_with_its_place() -> None:
    text = "flow: v1\nname: sample\nsteps:\n  a: {uses: data.ecko@1}\n"
    faults = compile_definition(text, Catalogue())
    assert not isinstance(faults, Plan)
    document = problem_of(DefinitionRefused(faults, text, "sample.yaml"), PATH).document
    diagnostics = document["diagnostics"]
    assert isinstance(diagnostics, list)
    assert diagnostics[0]["line"] == 4 and diagnostics[0]["file"] == "sample.yaml"
    assert "data.ecko@1" in str(document["rendered"])
