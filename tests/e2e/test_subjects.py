"""A data subject is erased: through the command line and five separate processes."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.command_line import CommandLine, of_tenant
from tests.e2e.suite import Suite

NAME = "Ada Lovelace"
LETTER = """\
flow: v1
name: letter
inputs: {reader: {type: string}}
subject: inputs.reader
steps:
  greet: {uses: data.echo@1, with: {value: "Dear ${{ inputs.reader }}"}}
  sent:
    needs: [greet]
    wait: {event: {topic: letter.sent, key: one}}
  note: {needs: [sent.received], set: {said: "${{ steps.greet.output }}"}}
outputs: {said: "${{ steps.note.output.said }}"}
"""
ERASED = {"$erased": "the key of this payload was destroyed"}


@contextmanager
def published(suite: Suite, headrace: CommandLine) -> Generator[httpx.Client]:
    tenant = headrace.settings["HEADRACE_TENANT"]
    made = headrace.well("keys", "add", tenant, "--name", "all", "--role", "editor", "--json")
    yaml = {"content-type": "application/yaml"}
    with suite.client(made.document["key"]) as client:
        client.post("/v1/workflows", content=LETTER, headers=yaml).raise_for_status()
        yield client


def run_of(api: httpx.Client, run: str) -> Any:
    return api.get(f"/v1/runs/{run}").json()


def until(api: httpx.Client, run: str, kind: str) -> list[Any]:
    while True:
        page = api.get(f"/v1/runs/{run}/events").json()["events"]
        if kind in [event["kind"] for event in page]:
            return page


def test_an_erased_data_subject_is_erased_everywhere_and_the_proof_still_holds(
    suite: Suite, tmp_path: Path
) -> None:
    headrace = of_tenant(suite, "subjects")
    with published(suite, headrace) as api:
        start = {"workflow": "letter", "input": {"reader": NAME}}
        ended, waiting = [api.post("/v1/runs", json=start).json()["id"] for _ in range(2)]
        until(api, waiting, "StepWaiting")
        headrace.well("signal", ended, "letter.sent", "--body", "{}")
        until(api, ended, "RunSucceeded")
        assert run_of(api, ended)["output"] == {"said": f"Dear {NAME}"}

        (known,) = headrace.well("subjects", "list", "--json").document["subjects"]
        erased = headrace.well("subjects", "erase", NAME, "--yes", "--json").document
        assert erased["key"] == known["key"] and NAME not in str(erased)

        while run_of(api, ended)["input"] != ERASED:
            pass
        document = run_of(api, ended)
        assert document["status"] == "succeeded" and document["output"] == ERASED
        events = api.get(f"/v1/runs/{ended}/events").text
        state = api.get(f"/v1/runs/{ended}/state").text
        assert NAME not in events + state + json.dumps(document)
        file = tmp_path / "run.ndjson"
        headrace.well("export", ended, "--output", str(file))
        proof = headrace.well("replay", str(file), "--json").document
        assert proof["payloads"]["opened"] == 0 and proof["payloads"]["erased"] > 0, proof

        refused = headrace("signal", waiting, "letter.sent", "--body", "{}")
        assert refused.code == 1 and "was erased" in refused.err
        api.post("/v1/events", json={"topic": "letter.sent", "key": "one"}).raise_for_status()
        until(api, waiting, "RunFailed")
        error = run_of(api, waiting)["error"]
        assert error["type"] == "input.erased" and not error["message"]
