"""The file of cases beside a flow: what is given, what is expected. Read with every fault at once.

`<name>.cases.yaml` holds the cases of `<name>.flow.yaml`.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from headrace_core.workflow.document import DocumentPath
from headrace_core.workflow.fault import Fault, did_you_mean
from headrace_core.workflow.loader import load
from headrace_core.workflow.model_types import Duration, Model, Object
from headrace_core.workflow.report import Report
from headrace_core.workflow.shape_messages import describe

SUFFIX = ".cases.yaml"
MANUAL = "the keys of a case are in docs/flows/testing.md"
START = "2026-01-01T00:00:00Z"
RunWord = Literal["succeeded", "failed", "cancelled", "waiting", "suspended", "compensated"]
StepWord = Literal["succeeded", "failed", "skipped", "cancelled", "waiting", "ready", "pending"]


class Error(Model):
    type: str
    message: str = "no"


class Answer(Model):
    """What one attempt at the outside gives. Of an approval it is a person's decision."""

    output: Any = None
    error: Error | None = None
    after: Duration | None = None
    """So long it takes; nothing if absent."""
    retry_after: Duration | None = None
    """What the far side asks for in its error."""
    decision: Literal["approved", "rejected"] | None = None
    by: str = "somebody"
    comment: str = ""
    form: Any = None

    @model_validator(mode="after")
    def _one_answer(self) -> "Answer":
        given = {"output", "error", "decision"} & self.model_fields_set
        if len(given) != 1:
            raise ValueError("an answer has either output, error or decision")
        return self


class ItemAnswers(Model):
    """Of a fan-out: by the item's key, and for every other item."""

    items: dict[str, "AnswerOrList"]
    others: "AnswerOrList | None" = None


def _shape(value: Any) -> str:
    if isinstance(value, list):
        return "list"
    return "items" if isinstance(value, dict) and "items" in value else "answer"


_One = Annotated[Answer, Tag("answer")]
_InTurn = Annotated[list[Answer], Field(min_length=1), Tag("list")]
_ByItem = Annotated[ItemAnswers, Tag("items")]
AnswerOrList = Annotated[_One | _InTurn, Discriminator(_shape)]
"""A list answers one attempt each, its last entry all that follow."""
Answers = Annotated[_One | _InTurn | _ByItem, Discriminator(_shape)]


class Cancel(Model):
    after: Duration
    reason: str = ""


class Given(Model):
    inputs: Object = Field(default_factory=dict)
    at: str = START
    """When the run starts, RFC 3339."""
    steps: dict[str, Answers] = Field(default_factory=dict)
    flows: dict[str, dict[str, Answers]] = Field(default_factory=dict)
    """Answers for the steps of flows that are called, by the flow's name."""
    cancel: Cancel | None = None

    @model_validator(mode="after")
    def _start_is_a_time(self) -> "Given":
        try:
            moment = datetime.fromisoformat(self.at)
        except ValueError as fault:
            raise ValueError("`at` is no RFC 3339 time") from fault
        if moment.tzinfo is None:
            raise ValueError("`at` names no time zone")
        return self


class ExpectedError(Model):
    type: str
    message: str | None = None


class ExpectedStep(Model):
    status: StepWord | None = None
    output: Any = None
    error: ExpectedError | None = None
    port: str | None = None
    skip_reason: str | None = None
    attempts: int | None = None
    with_: Any = Field(default=None, alias="with")
    """What `with` gave in the last attempt."""


class Expected(Model):
    run: RunWord = "succeeded"
    outputs: Any = None
    error: ExpectedError | None = None
    path: list[str] | None = None
    """The steps that ran, in the order in which they became ready."""
    steps: dict[str, ExpectedStep] = Field(default_factory=dict)
    took: Duration | None = None


class Case(Model):
    given: Given = Field(default_factory=Given)
    expect: Expected


class CaseFile(Model):
    cases: dict[str, Case] = Field(min_length=1)


def read_cases(path: Path) -> tuple[CaseFile | None, list[Fault], str]:
    """The cases, or every fault of the file; and its text, to show faults in."""
    text = path.read_bytes()
    shown = text.decode("utf-8-sig", "replace")
    document, faults = load(text)
    if faults:
        return None, faults, shown
    report = Report(document)
    try:
        return CaseFile.model_validate(document.data), [], shown
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _report(detail, document.data, report)
    return None, report.faults, shown


def lines_of(path: Path) -> dict[str, int]:
    """The line of each case, by its name."""
    document, _ = load(path.read_bytes())
    spans = {name: document.key_span(("cases", name)) for name in document.data["cases"]}
    return {name: span.line for name, span in spans.items() if span is not None}


def _report(detail: Any, data: Any, report: Report) -> None:
    path = _path_in(detail, data)
    kind = detail["type"]
    if kind == "extra_forbidden":
        remedy = did_you_mean(str(path[-1]), _KEYS) or MANUAL
        report.at_key("HR-1101", path, f"unknown key {path[-1]!r}", remedy)
    elif kind == "value_error":
        report.at_key("HR-1104", path, str(detail["ctx"]["error"]), MANUAL)
    else:
        code, message, remedy = describe(detail, path)
        if kind == "missing":
            report.at_key(code, path[:-1], message, remedy)
        else:
            report.at_value(code, path, message, remedy)


def _path_in(detail: Any, data: Any) -> DocumentPath:
    """The error's location without the marks that unions leave in it."""
    path: list[str | int] = []
    node = data
    for key in detail["loc"]:
        if isinstance(node, dict) and key in node:
            node = cast("dict[Any, Any]", node)[key]
        elif isinstance(node, list) and isinstance(key, int):
            node = cast("list[Any]", node)[key]
        elif detail["type"] != "missing" or key != detail["loc"][-1]:
            continue
        path.append(key)
    return tuple(path)


_MODELS = (Answer, Case, CaseFile, Cancel, Error, Expected, ExpectedStep, Given, ItemAnswers)
_KEYS = {field.alias or name for one in _MODELS for name, field in one.model_fields.items()}
