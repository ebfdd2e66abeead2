"""`headrace letters`: calls that failed for good, to look at, replay or discard."""

from typing import Annotated

import typer

from headrace_cli.following import follow_to_end
from headrace_cli.rendering.fork_text import render_fork
from headrace_cli.rendering.letter_text import render_letter
from headrace_cli.rendering.lists import render_letters
from headrace_cli.session import Session, connected
from headrace_core.errors import InvalidInput

letters = typer.Typer(
    help="Dead letters: calls that failed for good, to look at, replay or discard.",
    no_args_is_help=True,
)
STATUSES = ("open", "replayed", "discarded", "all")
PATH = "/v1/letters"

LetterArgument = Annotated[
    str, typer.Argument(metavar="LETTER", help="The dead letter's id, as listed.")
]
ReasonOption = Annotated[str, typer.Option(help="Kept with the decision.")]


@letters.command("list")
@connected
def list_letters(
    session: Session,
    flow: Annotated[str, typer.Option(help="Of this workflow only.")] = "",
    run: Annotated[str, typer.Option(help="Of this run only.")] = "",
    status: Annotated[str, typer.Option(help=f"One of {', '.join(STATUSES)}.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
) -> None:
    """List dead letters, the newest first; those that wait for a decision where not said."""
    if status not in STATUSES:
        raise typer.BadParameter(f"{status!r} is no status of a dead letter; see --help.")
    wanted = "" if status == "all" else status
    answer = session.as_tenant().get(PATH, workflow=flow, run=run, status=wanted, limit=limit)
    if session.console.as_json:
        session.console.answer_json(answer)
    elif answer["letters"]:
        session.console.answer(render_letters(answer["letters"], session.console.style))
        if answer["next_cursor"]:
            session.console.say(f"There are older ones: --limit {min(500, limit * 2)}")
    else:
        which = "" if status == "all" else f" that is {status}"
        session.console.say(f"No dead letter{which}.")


@letters.command()
@connected
def inspect(session: Session, letter: LetterArgument) -> None:
    """Show a dead letter: what was called, in which run, what it answered, what was decided."""
    document = session.as_tenant().get(f"{PATH}/{_checked(letter)}")
    if session.console.as_json:
        session.console.answer_json(document)
    else:
        session.console.answer(render_letter(document, session.console.style))


@letters.command()
@connected
def replay(
    session: Session,
    letter: LetterArgument,
    reason: ReasonOption = "",
    *,
    preview: Annotated[
        bool, typer.Option("--preview", help="Say what would be reused and run; start nothing.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Print the run's id and return at once.")
    ] = False,
) -> None:
    """Try again what has failed: in the run itself if it is suspended, else in a fork of it."""
    api = session.as_tenant()
    path = f"{PATH}/{_checked(letter)}/replay"
    console = session.console
    if preview:
        planned = api.post(f"{path}?preview=true", {})
        if console.as_json:
            console.answer_json(planned)
        elif "forked_from" in planned:
            console.answer(render_fork(planned, console.style))
        else:
            console.say("The run is suspended: it would go on, its failed steps tried again.")
        return
    replayed = api.post(path, {"reason": reason})
    if detach:
        if console.as_json:
            console.answer_json(replayed)
        else:
            console.answer(replayed["as_run"])
        return
    if "forked_from" in replayed:
        console.say(render_fork(replayed, console.style).rstrip())
    follow_to_end(session, api, replayed["as_run"])


@letters.command()
@connected
def discard(session: Session, letter: LetterArgument, reason: ReasonOption = "") -> None:
    """Close a dead letter: nothing is tried again."""
    answer = session.as_tenant().post(f"{PATH}/{_checked(letter)}/discard", {"reason": reason})
    if session.console.as_json:
        session.console.answer_json(answer)
    else:
        session.console.say(f"{letter} is discarded")


def _checked(letter: str) -> str:
    """Raises InvalidInput for what could not stand in an address."""
    if not letter.isalnum() and not letter.replace("_", "").isalnum():
        raise InvalidInput(f"{letter!r} is no dead letter: see `headrace letters list`.")
    return letter
