"""`headrace diff`: what changed between two events of a run."""

from typing import Annotated

import typer

from headrace_cli.options import RunArgument
from headrace_cli.rendering.diff_text import render_diff
from headrace_cli.session import Session, connected


@connected
def diff(
    session: Session,
    run: RunArgument,
    before: Annotated[int, typer.Argument(metavar="N", min=1, help="Number of an event.")],
    after: Annotated[
        int, typer.Argument(metavar="M", min=0, help="Number of another; 0 is the newest.")
    ] = 0,
) -> None:
    """Show what differs between a run after event N and after event M."""
    answer = session.as_tenant().get(f"/v1/runs/{run}/diff", **{"from": before, "to": after})
    if session.console.as_json:
        session.console.answer_json(answer)
    else:
        session.console.answer(render_diff(answer, session.console.style))
