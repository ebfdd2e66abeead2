"""`headrace explain`: one step's story, from the run's events."""

from collections.abc import Sequence
from typing import Annotated, Any, cast

import typer

from headrace_cli.api_client import ApiClient
from headrace_cli.options import RunArgument
from headrace_cli.rendering.story import (
    Event,
    Story,
    steps_of,
    story_document,
    tell,
    with_inherited,
)
from headrace_cli.rendering.style import Style
from headrace_cli.rendering.values import printable, time_of_day
from headrace_cli.runs import all_events
from headrace_cli.session import Session, connected
from headrace_core.errors import InvalidInput
from headrace_core.workflow.fault import did_you_mean, listed
from headrace_core.workflow.loader import load


@connected
def explain(
    session: Session,
    run: RunArgument,
    step: Annotated[
        str, typer.Argument(metavar="STEP", help="The step, or an item of it: `read[17]`.")
    ],
) -> None:
    """Say why a step ran, waits, was skipped or failed, from the log of its run."""
    api = session.as_tenant()
    events = with_inherited(all_events(api, run, 0))
    known, needs = steps_of(events), list[str]()
    if step not in known and "[" not in step:
        # Nothing has happened to it yet: only the definition knows it.
        defined = _defined_steps(api, events)
        if step not in defined:
            raise InvalidInput(_unknown(run, step, [*known, *defined]))
        needs = _needs(defined[step])
    story = tell(events, step, needs)
    if session.console.as_json:
        session.console.answer_json(story_document(story))
    else:
        session.console.answer(render_story(story, session.console.style))


def render_story(story: Story, style: Style) -> str:
    status = style.paint(story.status, story.status)
    lines = [
        f"{style.paint('strong', printable(story.step))}  {status}: {printable(story.because)}"
    ]
    lines += (f"  began with  {printable(root)}" for root in story.roots)
    lines += (f"  needs       {printable(edge)}" for edge in story.edges)
    lines += (f"  {time_of_day(time)}  {printable(text)}" for time, text in story.history)
    return "\n".join(lines)


def _defined_steps(api: ApiClient, events: Sequence[Event]) -> dict[str, Any]:
    if not events:
        return {}
    started = events[0]
    answer = api.get(f"/v1/workflows/{started['flow']}", version=str(started["version"]))
    document, _ = load(answer["definition"])
    return cast("dict[str, Any]", document.data["steps"])


def _needs(step: Any) -> list[str]:
    return list(step.get("needs") or ())


def _unknown(run: str, step: str, known: Sequence[str]) -> str:
    hint = did_you_mean(step, known) or f"it has {listed(known, 20)}"
    return f"Run {run} has no step {step!r}; {hint}."
