"""`headrace replay`: what an auditor does with an export, with no service in reach."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace_cli.console import open_console
from headrace_cli.exit_code import ExitCode
from headrace_cli.failure import reported
from headrace_cli.options import JsonOption
from headrace_cli.rendering.event_line import render_event
from headrace_cli.rendering.proof import render_proof
from headrace_cli.rendering.state import render_state
from headrace_core.errors import InvalidInput


@reported
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From `headrace export`.")],
    *,
    at: Annotated[int, typer.Option(min=0, help="After this event; 0 is the newest.")] = 0,
    events: Annotated[
        bool, typer.Option("--events", help="Print the events up to there, one a line.")
    ] = False,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show payloads of steps marked sensitive too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify an exported run and replay it to any of its events, without a server.

    Every record is hashed again into the chain of the run, then folded with the function that
    the scheduler lives by. Exit code 5 if anything was changed, added or left out.
    """
    # Cryptography and codecs cost the other commands nothing.
    from headrace_cli.audit import audit

    console = open_console(as_json=as_json)
    examined = audit(_lines(file))
    answer = examined.state_at(at, reveal=reveal)
    payloads = examined.payloads()
    proof: dict[str, Any] = {
        "run": examined.header.run,
        "tenant": examined.header.tenant,
        "verified": not payloads["tampered"],
        "records": len(examined.turns),
        "events": examined.header.sequence,
        "chain": examined.header.chain.hex(),
        "payloads": payloads,
    }
    if events:
        for event in examined.events(at, reveal=reveal):
            if as_json:
                console.answer_json(event)
            else:
                console.answer(render_event(event, console.style))
    elif as_json:
        console.answer_json({**proof, **answer})
    else:
        console.answer(render_state(answer, console.style))
    if not as_json:
        console.say(render_proof(proof))
    if payloads["tampered"]:
        raise typer.Exit(ExitCode.NOT_AUTHENTIC)


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as opened:
            first = opened.readline()
            if not first.startswith(b"{"):
                raise InvalidInput(
                    f"{file} is no export of a run. Make one: headrace export RUN -o FILE"
                )
            yield first
            yield from opened
    except OSError as fault:
        raise InvalidInput(f"{file} cannot be read: {fault.strerror or fault}.") from fault
