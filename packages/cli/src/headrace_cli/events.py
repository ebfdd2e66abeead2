"""Commands that tell runs something: a signal to one, an event to whoever waits for it."""

import json
from typing import Annotated, Any

import typer

from headrace_cli.options import RunArgument
from headrace_cli.session import Session, connected
from headrace_core.errors import InvalidInput

BodyOption = Annotated[str, typer.Option(help="JSON; what the receiving step puts out as body.")]

event = typer.Typer(help="Events for whoever waits for them.", no_args_is_help=True)


@connected
def signal(
    session: Session,
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The topic a step waits for.")],
    body: BodyOption = "",
    once: Annotated[str, typer.Option("--once", help="A repeat with it is known.")] = "",
) -> None:
    """Signal a run that waits for an event of this topic."""
    headers = {"idempotency-key": once} if once else None
    path = f"/v1/runs/{run}/signals/{name}"
    answer = session.as_tenant().post(path, {"body": _read(body)}, headers)
    if session.console.as_json:
        session.console.answer_json(answer)
    else:
        known = " before" if answer["repeated"] else ""
        session.console.say(f"{run} has received {name}{known}: headrace watch {run}")


@event.command("send")
@connected
def send(
    session: Session,
    topic: Annotated[str, typer.Argument(metavar="TOPIC")],
    concerned: Annotated[str, typer.Argument(metavar="KEY", help="Whom it concerns.")] = "",
    body: BodyOption = "",
    event_id: Annotated[str, typer.Option("--id", help="A repeat with it is known.")] = "",
) -> None:
    """Publish an event; steps that wait for its topic and key receive it."""
    document = {"topic": topic, "key": concerned, "body": _read(body), "id": event_id}
    answer = session.as_tenant().post("/v1/events", document)
    if session.console.as_json:
        session.console.answer_json(answer)
    else:
        known = " was known" if answer["repeated"] else " is durable"
        session.console.say(f"Event {answer['id']}{known}")


def _read(text: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError as fault:
        raise InvalidInput(f"--body is no JSON: {fault}.") from fault
