"""Definitions: validated with every fault, published once per content, labelled, scheduled."""

from typing import Any

import pytest

from headrace_core.ids import slot_for
from tests.integration.api_gateway.conftest import GREET, YAML, Gateway, lease_all

pytestmark = pytest.mark.postgres

BROKEN = """\
flow: v1
name: broken
steps:
  first: {uses: data.echo@1, needs: [missing], with: {value: 1}}
  second: {uses: data.ecko@1}
"""
REFUSED = """\
flow: v1
name: early
steps:
  first:
    uses: data.echo@1
    with: {value: "${{ run.usage }}"}
"""
OFTEN = """\
flow: v1
name: tick
triggers:
  often: {schedule: {every: 5s}}
  seldom: {schedule: {every: 1h}}
steps:
  one: {set: {a: 1}}
"""
PARENT = """\
flow: v1
name: parent
steps:
  call: {uses: "flow/greet@stable", with: {name: Ada}}
"""


async def validate(client: Any, text: str | bytes, query: str = "") -> Any:
    return await client.post(f"/v1/workflows/validate{query}", content=text, headers=YAML)


async def test_a_sound_definition_is_valid_and_nothing_is_published(gateway: Gateway) -> None:
    client = await gateway.tenant("acme", "viewer")
    answer = (await validate(client, GREET)).json()
    assert (answer["valid"], answer["name"], len(answer["hash"])) == (True, "greet", 64)
    assert (await client.get("/v1/workflows")).json() == {"workflows": []}


async def test_every_fault_has_its_place_and_the_text_of_a_compiler(gateway: Gateway) -> None:
    client = await gateway.tenant()
    answer = await validate(client, BROKEN, "?file=flows/broken.yaml")
    assert answer.status_code == 422
    problem = answer.json()
    found = {(one["code"], one["file"], one["line"]) for one in problem["diagnostics"]}
    assert found == {("HR-1201", "flows/broken.yaml", 4), ("HR-1401", "flows/broken.yaml", 5)}
    assert all(one["column"] > 1 and one["remedy"] for one in problem["diagnostics"])
    assert problem["rendered"].count("flows/broken.yaml:") == 2
    assert "^" in problem["rendered"]
    assert len(problem["faults"]) == 2


async def test_what_is_not_executed_is_refused_by_its_name(gateway: Gateway) -> None:
    client = await gateway.tenant()
    answer = await client.post("/v1/workflows", content=REFUSED, headers=YAML)
    assert answer.status_code == 422
    fault = answer.json()["diagnostics"][0]
    assert fault["code"] == "HR-1901" and "run.usage" in fault["message"]


@pytest.mark.parametrize(
    ("text", "code"),
    [("flow: [", "HR-1001"), ("", "HR-1007"), ("a: &a [*a]", "HR-1001"), ("- 1", "HR-1103")],
)
async def test_text_that_is_no_definition_is_refused_with_a_fault(
    gateway: Gateway, text: str, code: str
) -> None:
    client = await gateway.tenant()
    answer = await validate(client, text)
    assert answer.status_code == 422
    assert [one["code"][:5] for one in answer.json()["diagnostics"]] != []


async def test_bytes_that_are_no_text_are_refused(gateway: Gateway) -> None:
    client = await gateway.tenant()
    answer = await validate(client, b"\xff\xfe\x00")
    assert (answer.status_code, "UTF-8" in answer.json()["detail"]) == (422, True)


async def test_the_same_content_is_the_same_version(gateway: Gateway) -> None:
    client = await gateway.tenant()
    first = await client.post("/v1/workflows", content=GREET, headers=YAML)
    again = await client.post("/v1/workflows", content=GREET, headers=YAML)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["version"] == first.json()["version"] == 1
    changed = GREET.replace("Hello", "Good day")
    assert (await gateway.publish(client, changed))["version"] == 2


async def test_a_published_workflow_is_listed_with_its_labels(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    await client.post("/v1/workflows?label=", content=GREET.replace("Hello", "Hi"), headers=YAML)
    workflows = (await client.get("/v1/workflows")).json()["workflows"]
    assert [one["name"] for one in workflows] == ["greet"]
    labels = {one["version"]: one["labels"] for one in workflows[0]["versions"]}
    assert labels == {1: ["stable"], 2: []}


async def test_a_workflow_shows_the_definition_of_the_version_asked_for(
    gateway: Gateway,
) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    changed = GREET.replace("Hello", "Hi")
    await client.post("/v1/workflows?label=canary", content=changed, headers=YAML)
    stable = (await client.get("/v1/workflows/greet")).json()
    canary = (await client.get("/v1/workflows/greet?version=canary")).json()
    assert (stable["version"], stable["definition"]) == (1, GREET)
    assert (canary["version"], canary["definition"]) == (2, changed)
    assert stable["inputs"]["name"] == {"type": "string"}


async def test_a_moved_label_counts_for_the_next_start(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    await gateway.publish(client, GREET.replace("Hello", "Hi"))
    start = {"workflow": "greet", "input": {"name": "Ada"}}
    await client.post("/v1/runs", json=start)
    moved = await client.put("/v1/workflows/greet/labels/stable", json={"version": 1})
    assert moved.status_code == 200
    await client.post("/v1/runs", json=start)
    versions = [command.start_run.version for command in gateway.scheduler.commands]
    assert versions == [2, 1]


@pytest.mark.parametrize(
    ("label", "version", "status"), [("stable", 9, 404), ("Stable!", 1, 422), ("stable", 0, 422)]
)
async def test_a_label_is_moved_only_to_a_version_that_exists(
    gateway: Gateway, label: str, version: int, status: int
) -> None:
    client = await gateway.tenant()
    await gateway.publish(client)
    url = f"/v1/workflows/greet/labels/{label}"
    assert (await client.put(url, json={"version": version})).status_code == status


async def test_schedules_of_the_stable_version_are_set(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client, OFTEN)
    sent = {one.set_schedule.trigger: one.set_schedule for one in gateway.scheduler.commands}
    assert {name: one.every_ms for name, one in sent.items()} == {
        "often": 5_000,
        "seldom": 3_600_000,
    }
    assert sent["often"].slot == slot_for("acme", "tick", "often")
    assert (sent["often"].flow, sent["often"].version) == ("tick", 1)


async def test_a_schedule_that_a_new_stable_version_does_not_have_is_removed(
    gateway: Gateway,
) -> None:
    client = await gateway.tenant()
    await gateway.publish(client, OFTEN)
    gateway.scheduler.commands.clear()
    await gateway.publish(client, OFTEN.replace("  seldom: {schedule: {every: 1h}}\n", ""))
    sent = {one.set_schedule.trigger: one.set_schedule for one in gateway.scheduler.commands}
    assert {name: one.every_ms for name, one in sent.items()} == {"often": 5_000, "seldom": 0}


async def test_a_version_that_is_not_stable_sets_no_schedule(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await client.post("/v1/workflows?label=canary", content=OFTEN, headers=YAML)
    assert gateway.scheduler.commands == []


async def test_publishing_again_mends_schedules_that_could_not_be_set(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await lease_all(gateway.dsn, None)
    answer = await client.post("/v1/workflows", content=OFTEN, headers=YAML)
    assert answer.status_code == 503
    await lease_all(gateway.dsn, gateway.scheduler.address)
    again = await client.post("/v1/workflows", content=OFTEN, headers=YAML)
    assert again.status_code == 200
    assert len(gateway.scheduler.commands) == 2


async def test_a_flow_that_calls_another_is_locked_to_its_version(gateway: Gateway) -> None:
    client = await gateway.tenant()
    called = await gateway.publish(client)
    answer = (await validate(client, PARENT)).json()
    assert answer["lock"]["flow/greet@stable"] == called["hash"]


async def test_a_flow_that_calls_one_of_another_tenant_does_not_resolve(
    gateway: Gateway,
) -> None:
    await gateway.publish(await gateway.tenant("other"))
    answer = await validate(await gateway.tenant("acme"), PARENT)
    assert [one["code"] for one in answer.json()["diagnostics"]] == ["HR-1401"]


async def test_flows_nested_too_deep_are_refused(gateway: Gateway) -> None:
    client = await gateway.tenant()
    await gateway.publish(client, "flow: v1\nname: level-1\nsteps:\n  one: {set: {a: 1}}\n")
    for level in range(2, 9):
        text = NESTED.format(level=level, inner=level - 1)
        await gateway.publish(client, text)
    answer = await validate(client, NESTED.format(level=9, inner=8))
    assert [one["code"] for one in answer.json()["diagnostics"]] == ["HR-1402"]


NESTED = """\
flow: v1
name: level-{level}
steps:
  call: {{uses: flow/level-{inner}@stable}}
"""
