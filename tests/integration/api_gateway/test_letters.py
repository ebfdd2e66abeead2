"""Dead letters over the API: which are replayed how, and which decision came first."""

from typing import Any

import orjson
import pytest

from headrace.scheduler.v1 import scheduler_service_pb2 as pb
from headrace_core.errors import KeyReused
from headrace_core.ids import RunId, StepKey, letter_id
from tests.integration.api_gateway.conftest import Gateway
from tests.integration.api_gateway.peers import rejected
from tests.integration.api_gateway.test_forking import FETCH, RUN, failed_run

pytestmark = pytest.mark.postgres

LETTER = letter_id(RUN, StepKey("told"), 1)


async def with_letter(gateway: Gateway, run: str = "failed", **fields: Any) -> None:
    """A run with this status that has one dead letter."""
    client = await gateway.tenant()
    await failed_run(gateway, (await gateway.publish(client, FETCH))["hash"])
    gateway.history.known[RUN].document["status"] = run
    gateway.history.letters[LETTER] = {
        "tenant": "acme",
        "id": LETTER,
        "status": "open",
        "run": RUN,
        "step": "told",
        "as_run": None,
        **fields,
    }


def told(command: pb.Command) -> str:
    kind = command.WhichOneof("command")
    assert kind is not None
    return kind


async def test_letters_are_listed_and_shown(gateway: Gateway) -> None:
    await with_letter(gateway)
    client = await gateway.tenant(role="viewer")
    page = (await client.get("/v1/letters?status=open&workflow=fetch&limit=3")).json()
    assert [letter["id"] for letter in page["letters"]] == [LETTER]
    asked = gateway.history.asked[-1]
    assert (asked.status, asked.flow, asked.limit) == ("open", "fetch", 3)
    assert (await client.get(f"/v1/letters/{LETTER}")).json()["step"] == "told"
    other = await gateway.tenant("other")
    assert (await other.get(f"/v1/letters/{LETTER}")).status_code == 404


async def test_the_letter_of_an_ended_run_is_replayed_by_a_fork(gateway: Gateway) -> None:
    await with_letter(gateway)
    client = await gateway.tenant()
    preview = await client.post(f"/v1/letters/{LETTER}/replay?preview=true")
    assert (preview.status_code, preview.json()["first"]) == (200, ["told"])
    assert gateway.scheduler.commands == []
    answer = await client.post(f"/v1/letters/{LETTER}/replay", json={"reason": "mended"})
    assert answer.status_code == 202, answer.text
    [command] = gateway.scheduler.commands
    fork = command.fork_run
    assert (fork.letter, fork.letter_step, fork.fork.source) == (LETTER, "told", RUN)
    assert answer.json()["as_run"] == fork.run and fork.client_key
    reason = await gateway.open_payload("acme", fork.run, fork.fork.reason)
    assert orjson.loads(reason) == "mended"


async def test_the_letter_of_a_suspended_run_is_replayed_in_it(gateway: Gateway) -> None:
    await with_letter(gateway, "suspended")
    client = await gateway.tenant()
    preview = await client.post(f"/v1/letters/{LETTER}/replay?preview=true")
    assert preview.json() == {"id": LETTER}
    answer = await client.post(f"/v1/letters/{LETTER}/replay")
    assert answer.json()["as_run"] == RUN
    [command] = gateway.scheduler.commands
    assert [edit.step for edit in command.resume_run.edits] == ["told"]


@pytest.mark.parametrize(
    ("status", "fields", "says"),
    [
        ("running", {}, "is running: it can be replayed once the run has ended"),
        ("failed", {"step": "told:compensate"}, "is about undoing step 'told'"),
        (
            "failed",
            {
                "status": "replayed",
                "as_run": "run_1",
                "decided_by": "key:1",
                "decided_at": "2026-11-27T00:00:00.000Z",
            },
            "was replayed by key:1 at 2026-11-27T00:00:00.000Z, as run_1",
        ),
    ],
)
async def test_what_cannot_be_replayed_says_why_and_changes_nothing(
    gateway: Gateway, status: str, fields: dict[str, Any], says: str
) -> None:
    await with_letter(gateway, status, **fields)
    client = await gateway.tenant()
    answer = await client.post(f"/v1/letters/{LETTER}/replay")
    assert answer.status_code == 409 and says in answer.json()["detail"]
    assert gateway.scheduler.commands == []


async def test_a_discard_carries_its_reason_and_shares_the_key_of_a_replay(
    gateway: Gateway,
) -> None:
    await with_letter(gateway)
    client = await gateway.tenant()
    answer = await client.post(f"/v1/letters/{LETTER}/discard", json={"reason": "too late"})
    assert answer.json() == {"id": LETTER, "status": "discarded"}
    (await client.post(f"/v1/letters/{LETTER}/replay")).raise_for_status()
    discard, fork = (command for command in gateway.scheduler.commands)
    assert (told(discard), told(fork)) == ("discard_letter", "fork_run")
    message = discard.discard_letter
    assert (message.letter, message.run, message.step) == (LETTER, RUN, "told")
    reason = await gateway.open_payload("acme", RunId(RUN), message.reason)
    assert orjson.loads(reason) == "too late"
    assert message.start_key == fork.fork_run.start_key
    assert message.fingerprint != fork.fork_run.fingerprint


@pytest.mark.parametrize(("way", "other"), [("replay", "discarded"), ("discard", "replayed")])
async def test_who_comes_second_at_the_same_time_is_told(
    gateway: Gateway, way: str, other: str
) -> None:
    await with_letter(gateway)
    reused = KeyReused("this key came before with another request")

    def refuse(command: pb.Command) -> pb.Reply:
        return rejected(command, reused)

    gateway.scheduler.answer = refuse
    client = await gateway.tenant()
    answer = await client.post(f"/v1/letters/{LETTER}/{way}")
    assert answer.status_code == 409
    assert f"was {other}: a letter is decided once" in answer.json()["detail"]


async def test_a_viewer_decides_nothing(gateway: Gateway) -> None:
    await with_letter(gateway)
    viewer = await gateway.tenant(role="viewer")
    for way in ("replay", "discard"):
        assert (await viewer.post(f"/v1/letters/{LETTER}/{way}")).status_code == 403
