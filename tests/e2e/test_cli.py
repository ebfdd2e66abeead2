"""The command line against a whole suite, as somebody at a terminal uses it."""

import json
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace_cli.audit import audit
from tests.e2e.command_line import CommandLine, of_tenant
from tests.e2e.suite import Suite

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(240)]

GREET = """\
flow: v1
name: greet
inputs:
  name: {type: string}
steps:
  hello:
    uses: data.format@1
    with: {text: "Hello {name}", values: {name: "${{ inputs.name }}"}}
  password: {needs: [hello], sensitive: true, set: {value: "do not show"}}
outputs:
  said: "${{ steps.hello.output }}"
"""
BROKEN = GREET.replace("needs: [hello]", "needs: [hallo]").replace("name: greet", "name: broken")
FAILING = "flow: v1\nname: failing\nsteps: {stop: {fail: {type: no.stock, message: sold out}}}\n"
ASKING = """\
flow: v1
name: asking
steps:
  ask: {approval: {assignees: [ann], expires: 1h, on_expire: rejected}}
  done: {needs: [ask.approved], set: {paid: 1}}
  refused: {needs: [ask.rejected], set: {paid: 0}}
"""
CALLING = """\
flow: v1
name: calling
steps:
  each:
    foreach: {in: '["Ada", "Grace"]', as: one}
    uses: flow/greet@stable
    with: {name: "${{ one }}"}
"""
SUSPENDING = """\
flow: v1
name: suspending
on_failure: suspend
inputs: {order: {type: object}}
outputs: {number: "${{ steps.look.output }}"}
steps:
  look: {uses: data.echo@1, with: {value: "${{ inputs.order.number }}"}}
  after: {needs: [look], set: {done: true}}
"""
UNDOING = """\
flow: v1
name: undoing
on_failure: compensate
steps:
  hold:
    uses: data.echo@1
    with: {value: {seat: 12A}}
    compensate: {uses: data.echo@1, with: {value: "gave back ${{ steps.hold.output.seat }}"}}
  each:
    foreach: {in: '["a", "b"]', as: one}
    needs: [hold]
    uses: flow/greet@stable
    with: {name: "${{ one }}"}
    compensate: {uses: flow/greet@stable, with: {name: "no ${{ one }}"}}
  stop: {needs: [each], fail: {type: no.stock, message: sold out}}
"""
TELLING = """\
flow: v1
name: telling
steps:
  tell: {uses: flow/asking@stable, mode: detach}
outputs: {run: "${{ steps.tell.output.run }}"}
"""
Publish = Callable[[CommandLine, str], None]


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    def publish_text(command_line: CommandLine, text: str) -> None:
        file = tmp_path / "one.flow.yaml"
        file.write_text(text, encoding="utf-8")
        command_line.well("publish", str(file))

    return publish_text


def started(command_line: CommandLine, workflow: str, fields: str = "{}") -> str:
    return command_line.well("run", workflow, "--detach", "--input", fields).out.strip()


def test_a_run_is_followed_to_its_end_and_its_output_printed(
    suite: Suite, publish: Publish
) -> None:
    headrace = of_tenant(suite, "cli-run")
    publish(headrace, GREET)
    answer = headrace.well("run", "greet", "--input", "-", given='{"name": "Ada"}')
    assert answer.document == {"said": "Hello Ada"}
    lines = [line.split() for line in answer.err.splitlines()]
    assert lines[0][0] == "Run"
    assert [line[2:4] for line in lines if line[2:3] == ["hello"]] == [
        ["hello", "running"],
        ["hello", "succeeded"],
    ]
    assert lines[-1][-1] == "succeeded"
    document = headrace.well("run", "greet@1", "--input", '{"name": "Ada"}', "--json").document
    assert (document["status"], document["output"]) == ("succeeded", {"said": "Hello Ada"})


def test_the_same_key_starts_one_run(suite: Suite, publish: Publish) -> None:
    headrace = of_tenant(suite, "cli-repeat")
    publish(headrace, GREET)
    words = ("run", "greet", "--input", '{"name": "x"}', "-d", "--json", "--idempotency-key", "k")
    first, second = (headrace.well(*words).document for _ in range(2))
    assert (first["id"], second["repeated"]) == (second["id"], True)


def test_a_run_that_does_not_succeed_ends_the_command_with_4(
    suite: Suite, publish: Publish
) -> None:
    headrace = of_tenant(suite, "cli-fails")
    publish(headrace, FAILING)
    answer = headrace("run", "failing")
    assert answer.code == 4
    assert "no.stock: sold out" in answer.err
    run = headrace.well("runs", "--status", "failed", "--json").document["runs"][0]["id"]
    assert f"What happened: headrace show {run}" in answer.err
    assert "error    no.stock: sold out (step stop)" in headrace.well("show", run).out
    assert headrace("watch", run).code == 4


def test_a_run_that_is_undone_says_why_and_what_undid_it(suite: Suite, publish: Publish) -> None:
    headrace = of_tenant(suite, "cli-undo")
    publish(headrace, GREET)
    publish(headrace, UNDOING)
    answer = headrace("run", "undoing")
    assert answer.code == 4
    assert "compensating  no.stock: sold out" in answer.err
    [run] = headrace.well("runs", "--status", "compensated", "--json").document["runs"]
    shown = headrace.well("show", run["id"], "--json").document
    assert shown["steps"]["hold:compensate"]["output"] == "gave back 12A"
    undone = [name for name in shown["steps"] if name.endswith(":compensate")]
    assert len(undone) == 3
    assert undone[-1] == "hold:compensate", "the last one to succeed is undone first"
    assert headrace("watch", run["id"]).code == 4


def test_a_detached_run_goes_on_by_itself(suite: Suite, publish: Publish) -> None:
    headrace = of_tenant(suite, "cli-detach")
    publish(headrace, ASKING)
    publish(headrace, TELLING)
    told = headrace.well("run", "telling").document["run"]
    headrace.well("approve", told, "ask")
    headrace.well("watch", told)


def test_a_refused_input_lists_every_fault(suite: Suite, publish: Publish) -> None:
    headrace = of_tenant(suite, "cli-input")
    publish(headrace, GREET)
    answer = headrace("run", "greet", "--input", '{"name": 1, "nome": 2}', "--json")
    assert answer.code == 1
    assert len(answer.document["error"]["faults"]) == 2
    assert "input.name" in answer.err
    assert headrace("run", "nowhere").code == 1


def test_what_publishing_refuses_is_shown_with_its_place(suite: Suite, tmp_path: Path) -> None:
    headrace = of_tenant(suite, "cli-publish")
    for name, text in (("a", CALLING), ("b", GREET), ("c", BROKEN)):
        (tmp_path / f"{name}.flow.yaml").write_text(text, encoding="utf-8")
    answer = headrace("publish", str(tmp_path))
    assert answer.code == 1
    # The flow that is called comes first, whatever its file is called.
    assert answer.out.splitlines() == [
        "greet@1, labelled stable",
        "calling@1, labelled stable",
    ]
    assert f"{tmp_path}/c.flow.yaml:9:22: error[HR-1201]" in answer.err
    assert "did you mean 'hello'?" in answer.err
    known = headrace.well("workflows", "--json").document["workflows"]
    assert [one["name"] for one in known] == ["calling", "greet"]
    assert headrace.well("run", "calling").code == 0


def test_an_export_replays_offline_to_the_same_state_at_every_event(
    suite: Suite, publish: Publish, tmp_path: Path
) -> None:
    headrace = of_tenant(suite, "cli-replay")
    publish(headrace, GREET)
    run = headrace.well("run", "greet", "--input", '{"name": "Ada"}', "--json").document["id"]
    file = tmp_path / "run.jsonl"
    headrace.well("export", run, "-o", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    events = headrace.well("events", run, "--json").documents
    offline = CommandLine()
    assert offline.well("replay", str(file), "--events", "--json").documents == events
    with file.open("rb") as lines:
        examined = audit(lines)
    key = (suite.home / "keys" / "cli-replay.key").read_text(encoding="ascii").strip()
    with suite.client(key) as client:
        for number in range(1, len(events) + 1):
            online = client.get(f"/v1/runs/{run}/state", params={"sequence": number}).json()
            assert examined.state_at(number) == online
    shown = headrace.well("state", run, "--at", "3", "--json").document
    replayed = offline.well("replay", str(file), "--at", "3", "--json").document
    assert replayed["verified"]
    assert {name: replayed[name] for name in shown} == shown
    assert "do not show" not in offline.well("replay", str(file), "--json").out
    assert "do not show" in offline.well("replay", str(file), "--json", "--reveal").out
    changed = file.read_bytes().replace(b'"time_ms":1', b'"time_ms":2', 1)
    file.write_bytes(changed)
    assert offline("replay", str(file)).code == 5


def test_a_live_table_shows_the_steps_and_an_approval_ends_it(
    suite: Suite, publish: Publish
) -> None:
    headrace = of_tenant(suite, "cli-table")
    publish(headrace, ASKING)
    with headrace.begin("run", "asking") as terminal:
        hint = terminal.read_until(r"headrace approve (run_\w+) (ask)")
        headrace.well("approve", hint[1], hint[2], "--comment", "fine")
        assert terminal.end() == 0
        frame = terminal.last_frame.split()
        assert {"ask", "done", "succeeded", "refused", "skipped"} <= set(frame)
        assert terminal.text.count("\x1b[?25l") == terminal.text.count("\x1b[?25h") == 1
    assert headrace("approve", hint[1], "ask").code == 1


def test_a_suspended_run_is_repaired_and_goes_on(suite: Suite, publish: Publish) -> None:
    headrace = of_tenant(suite, "cli-repair")
    publish(headrace, SUSPENDING)
    run = started(headrace, "suspending", '{"order": {}}')
    assert headrace("watch", run).code == 4
    document = headrace.well("show", run, "--json").document
    assert (document["status"], document["error"]["step"]) == ("suspended", "look")
    assert headrace("resume", run, "--skip", "nothing").code == 1
    assert headrace("resume", run, "--output", "look=no json").code == 2
    headrace.well("resume", run, "--input", 'look={"value": 7}')
    document = headrace.well("watch", run, "--json").document
    assert (document["status"], document["output"]) == ("succeeded", {"number": 7})
    assert document["steps"]["look"]["attempt"] == 2
    assert headrace("resume", run).code == 1


def test_ctrl_c_stops_the_watching_and_not_the_run(suite: Suite, publish: Publish) -> None:
    headrace = of_tenant(suite, "cli-interrupt")
    publish(headrace, ASKING)
    with headrace.begin("run", "asking") as terminal:
        run = terminal.read_until(r"headrace approve (run_\w+) ask")[1]
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
        assert f"The run goes on: headrace watch {run}" in terminal.text
        assert terminal.text.rfind("\x1b[?25h") > terminal.text.rfind("\x1b[?25l")
    document = headrace.well("show", run, "--json").document
    assert document["status"] == "waiting"
    assert f"headrace approve {run} ask" in headrace.well("show", run).err
    headrace.well("cancel", run, "--reason", "enough")
    assert headrace("watch", run).code == 4
    assert headrace.well("show", run, "--json").document["status"] == "cancelled"


def test_a_rejected_approval_takes_the_other_way(suite: Suite, publish: Publish) -> None:
    headrace = of_tenant(suite, "cli-reject")
    publish(headrace, ASKING)
    run = started(headrace, "asking")
    headrace.well("approve", run, "ask", "--reject")
    document = headrace.well("watch", run, "--json").document
    assert document["steps"]["refused"]["status"] == "succeeded"
    assert document["steps"]["done"]["status"] == "skipped"


def test_a_step_tells_why_it_waits_and_why_it_never_ran(suite: Suite, publish: Publish) -> None:
    command_line = of_tenant(suite, "explained")
    publish(command_line, ASKING)
    run = started(command_line, "asking")
    waits = command_line.well("explain", run, "ask")
    assert waits.out.startswith("ask  waiting: it waits for a person to decide until")
    pending = command_line.well("explain", run, "done", "--json").document
    assert (pending["status"], pending["because"]) == (
        "pending",
        "it waits for ask.approved (waiting)",
    )
    command_line.well("approve", run, "ask", "--reject")
    command_line.well("watch", run)
    skipped = command_line.well("explain", run, "done").out
    assert "needs       ask.approved is dead: ask took port rejected" in skipped
    unknown = command_line("explain", run, "dome")
    assert unknown.code == 1
    assert "has no step 'dome'; did you mean 'done'" in unknown.err


def test_keys_open_what_their_role_allows(suite: Suite, publish: Publish) -> None:
    headrace = of_tenant(suite, "cli-keys")
    publish(headrace, GREET)
    made = headrace.well(
        "keys", "add", "cli-keys", "--name", "screen", "--role", "viewer", "--json"
    ).document
    viewer = CommandLine({"HEADRACE_URL": suite.said["api"], "HEADRACE_API_KEY": made["key"]})
    viewer.well("workflows")
    refused = viewer("run", "greet", "--input", '{"name": "x"}')
    assert (refused.code, "role 'viewer'" in refused.err) == (7, True)
    headrace.well("keys", "revoke", "cli-keys", made["id"])
    assert viewer("workflows").code == 7
    assert viewer("workflows", "--key", "wrong").code == 7
    listed = headrace.well("keys", "list", "cli-keys").out
    assert made["id"] in listed
    assert made["key"] not in listed


def test_keys_of_the_home_stay_in_the_home(suite: Suite) -> None:
    headrace = of_tenant(suite, "cli-home")
    kept = suite.home / "keys" / "cli-home.key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    listed = headrace.well("tenants", "list").out
    row = next(line for line in listed.splitlines() if line.startswith("cli-home "))
    assert row.endswith("kept in the home")
    refused = headrace("runs", "--url", "http://127.0.0.1:1")
    assert (refused.code, kept.read_text(encoding="ascii").strip() in refused.err) == (7, False)
    again = headrace.well("tenants", "add", "cli-home", "--json").document
    assert again["key_kept"] is True


def test_secrets_go_in_and_never_out(suite: Suite, tmp_path: Path) -> None:
    headrace = of_tenant(suite, "cli-secrets")
    headrace.well("secrets", "set", "shop_db", given="first-value\n")
    file = tmp_path / "value"
    file.write_text("second-value", encoding="utf-8")
    headrace.well("secrets", "set", "shop_db", "--from-file", str(file))
    listed = headrace.well("secrets", "list", "--json")
    [secret] = listed.document["secrets"]
    assert (secret["name"], secret["version"]) == ("shop_db", 2)
    assert "value" not in listed.out
    assert "shop_db" in headrace.well("secrets", "list").out
    headrace.well("secrets", "delete", "shop_db")
    assert headrace.well("secrets", "list", "--json").document == {"secrets": []}
    assert headrace("secrets", "delete", "shop_db").code == 1


def test_addresses_are_allowed_and_taken_back(suite: Suite) -> None:
    headrace = of_tenant(suite, "cli-egress")
    headrace.well("egress", "allow", "127.0.0.1:9009")
    headrace.well("egress", "allow", "[::1]:9009")
    allowed = headrace.well("egress", "list", "--json").document["allowed"]
    assert {(one["host"], one["port"]) for one in allowed} == {("127.0.0.1", 9009), ("::1", 9009)}
    headrace.well("egress", "deny", "127.0.0.1:9009")
    assert headrace.well("egress", "list").out.split()[2:] == ["::1", "9009"]


def test_a_second_suite_in_the_same_home_is_refused_and_harms_nothing(suite: Suite) -> None:
    headrace = of_tenant(suite, "cli-second")
    refused = headrace("up", "--json")
    assert refused.code == 6
    assert "Another Headrace" in refused.err
    assert json.loads(refused.out)["error"]["code"] == "HR-5001"
    headrace.well("runs")


def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = CommandLine()("up", "--home", str(tmp_path / "home"), "--api-port", str(port))
    assert refused.code == 6
    assert f"Port {port} for the API is taken" in refused.err
    assert "--api-port" in refused.err


FRAGILE = """\
flow: v1
name: fragile
inputs:
  amount: {type: integer}
steps:
  price: {set: {total: "${{ inputs.amount * 2 }}"}}
  check:
    needs: [price]
    when: steps.price.output.total > 100
    fail: {type: too.much, message: "no"}
  label:
    needs: [price]
    uses: data.format@1
    with: {text: "{t}", values: {t: "${{ string(steps.price.output.total) }}"}}
outputs:
  label: "${{ steps.label.output }}"
"""


def test_a_failed_run_is_forked_with_another_output_and_succeeds(
    suite: Suite, publish: Publish
) -> None:
    headrace = of_tenant(suite, "cli-fork")
    publish(headrace, FRAGILE)
    source = started(headrace, "fragile", '{"amount": 60}')
    assert headrace("watch", source).code == 4
    edit = ("--output", 'price={"total": 7}')
    preview = headrace.well("fork", source, *edit, "--preview", "--json").document
    assert (preview["reused"], preview["edited"]) == (["price"], ["price"])
    assert sorted(preview["again"]) == ["check", "label"]
    answer = headrace.well("fork", source, *edit)
    assert answer.document == {"label": "7"}
    assert f"from     {source} at event" in answer.err
    by_input = headrace.well("fork", source, "--input", '{"amount": 1}', "--json").document
    assert by_input["output"] == {"label": "2"}
    assert by_input["forked_from"]["run"] == source
    assert headrace.well("show", source, "--json").document["status"] == "failed"
    told = headrace.well("diff", source, "1").out
    assert '\nstatus\n  - "running"\n  + "failed"\n' in told


def test_a_fork_at_no_end_of_a_turn_is_refused(suite: Suite, publish: Publish) -> None:
    headrace = of_tenant(suite, "cli-fork-where")
    publish(headrace, GREET)
    source = started(headrace, "greet", '{"name": "Ada"}')
    assert headrace("watch", source).code == 0
    inside = headrace("fork", source, "--at", "1")
    assert inside.code == 1 and "is no end of a turn: fork at" in inside.err
    beyond = headrace("fork", source, "--at", "999")
    assert beyond.code == 1 and "there is no event 999" in beyond.err
    unknown = headrace("fork", source, "--output", "nowhere=1")
    assert unknown.code == 1 and "no such step" in unknown.err
