"""Runs started over HTTP end although the services that work on them are killed with -9."""

import httpx
import pytest

from tests.e2e.suite import Suite, begin, ended, publish

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(240)]

STEPS = """\
flow: v1
name: {name}
inputs:
  text: {{type: string}}
steps:
  first: {{uses: data.echo@1, with: {{value: "${{{{ inputs.text }}}}"}}}}
  pause: {{needs: [first], wait: {{for: 400ms}}}}
  second: {{needs: [pause], uses: data.echo@1, with: {{value: "${{{{ steps.first.output }}}}"}}}}
  rest: {{needs: [second], wait: {{for: 400ms}}}}
  third: {{needs: [rest], uses: data.echo@1, with: {{value: "${{{{ steps.second.output }}}}"}}}}
outputs:
  text: "${{{{ steps.third.output }}}}"
"""


@pytest.mark.parametrize(
    "victim", ["scheduler", "executor", "connectors", "history", "api-gateway"]
)
def test_a_run_ends_although_a_service_is_killed_in_the_middle(suite: Suite, victim: str) -> None:
    with suite.new_tenant(f"kill-{victim}") as client:
        publish(client, STEPS.format(name="survivor"))
        runs = [begin(client, "survivor", {"text": f"hello {number}"}) for number in range(10)]
        suite.kill(victim)
        for number, run in enumerate(runs):
            document = ended(client, run)
            assert document["status"] == "succeeded"
            assert document["output"] == {"text": f"hello {number}"}
            _check_events(client, run)


def test_a_run_ends_although_the_database_is_killed_in_the_middle(suite: Suite) -> None:
    with suite.new_tenant("kill-postgres") as client:
        publish(client, STEPS.format(name="survivor"))
        runs = [begin(client, "survivor", {"text": "x"}) for _ in range(10)]
        suite.kill("postgres")
        for run in runs:
            assert ended(client, run)["status"] == "succeeded"
            _check_events(client, run)


def test_a_run_is_found_right_after_it_was_accepted(suite: Suite) -> None:
    with suite.new_tenant("reader") as client:
        publish(client, STEPS.format(name="survivor"))
        for _ in range(20):
            run = begin(client, "survivor", {"text": "x"})
            assert client.get(f"/v1/runs/{run}").status_code == 200


def test_unfinished_runs_go_on_after_a_stop_and_a_start(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    suite = Suite(tmp_path_factory.mktemp("headrace-again"))
    suite.start()
    with suite.new_tenant("again") as client:
        publish(client, STEPS.format(name="survivor").replace("400ms", "2s"))
        run = begin(client, "survivor", {"text": "still here"})
        key = client.headers["Authorization"].removeprefix("Bearer ")
    assert suite.stop() == 0
    suite.start()
    with suite.client(key) as client:
        assert ended(client, run)["output"] == {"text": "still here"}
    assert suite.stop() == 0


def _check_events(client: httpx.Client, run: str) -> None:
    """Every event once, in order, one terminal one at the end."""
    events = client.get(f"/v1/runs/{run}/events", params={"limit": 500}).json()["events"]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    kinds = [event["kind"] for event in events]
    assert kinds[-1] == "RunSucceeded"
    assert kinds.count("RunSucceeded") == 1
