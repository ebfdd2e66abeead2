"""What an auditor proves with an export alone, and what he notices."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace_cli.audit import audit
from headrace_cli.exit_code import ExitCode
from headrace_core.errors import BrokenChain, HeadraceError, InvalidInput
from headrace_core.run.events import RunEvent
from tests.unit.cli.command import headrace
from tests.unit.cli.exports import RUN, Export

SECRET = "a secret"


def whole(export: Export) -> list[bytes]:
    return export.lines(export.turns(export.seal({"rows": 3}), export.seal(SECRET)))


def test_an_export_is_folded_to_its_end() -> None:
    answer = audit(whole(Export())).state_at(0)
    assert answer["sequence"] == 8
    assert len(answer["state_hash"]) == 64
    assert answer["state"]["status"] == "succeeded"
    assert answer["state"]["input"] == {"order": 7}
    assert answer["state"]["output"] == {"rows": 3}


def test_an_export_is_folded_to_any_event() -> None:
    examined = audit(whole(Export()))
    states = [examined.state_at(number) for number in range(1, 9)]
    assert [state["sequence"] for state in states] == list(range(1, 9))
    assert len({state["state_hash"] for state in states}) == 8
    statuses = [
        {name: step["status"] for name, step in state["state"]["steps"].items()} for state in states
    ]
    assert statuses[2] == {"open": "running"}
    assert statuses[4] == {"open": "succeeded", "hidden": "ready"}


def test_an_event_that_the_run_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has 8 events, there is no event 9"):
        audit(whole(Export())).state_at(9)


def test_events_up_to_one_are_listed() -> None:
    examined = audit(whole(Export()))
    assert [event["sequence"] for event in examined.events(0)] == list(range(1, 9))
    assert [event["kind"] for event in examined.events(2)] == ["RunStarted", "StepReady"]


def test_sensitive_payloads_are_masked_unless_revealed() -> None:
    examined = audit(whole(Export()))
    assert SECRET not in json.dumps([examined.state_at(0), *examined.events(0)])
    shown = examined.state_at(0, reveal=True)["state"]["steps"]["hidden"]
    assert shown["output"] == SECRET
    assert SECRET in json.dumps(list(examined.events(0, reveal=True)))


def test_without_a_plan_nobody_knows_what_is_sensitive() -> None:
    export = Export()
    turns = export.turns(export.seal(1), export.seal(SECRET))
    examined = audit(export.lines(turns, plan=None))
    steps = examined.state_at(0)["state"]["steps"]
    assert {name: "$masked" in step["output"] for name, step in steps.items()} == {
        "open": True,
        "hidden": True,
    }


def test_a_large_payload_is_opened_from_its_own_line() -> None:
    export = Export()
    reference, blob = export.large({"text": "long"})
    lines = export.lines(export.turns(reference, export.seal(1)), [blob])
    assert audit(lines).state_at(0)["state"]["output"] == {"text": "long"}
    lost = audit(lines[:-1])
    assert lost.state_at(0)["state"]["output"] == {"$lost": "the content is not in the blob store"}
    assert lost.payloads()["lost"] == 2


def test_what_was_erased_still_verifies() -> None:
    export = Export()
    lines = export.lines(export.turns(export.seal(1), export.seal(2)), keys={})
    examined = audit(lines)
    assert "$erased" in examined.state_at(0)["state"]["output"]
    assert examined.payloads() == {"opened": 0, "erased": 4, "lost": 0, "tampered": 0}


def test_a_payload_of_another_run_is_noticed() -> None:
    export = Export()
    foreign = export.seal({"rows": 3}, owner="run_of_somebody_else")
    examined = audit(export.lines(export.turns(foreign, export.seal(1))))
    assert examined.payloads()["tampered"] == 2
    assert "$unreadable" in examined.state_at(0)["state"]["output"]


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_record_that_is_missing_is_noticed(missing: int) -> None:
    lines = whole(Export())
    del lines[missing]
    with pytest.raises(BrokenChain):
        audit(lines)


def test_records_in_another_order_are_noticed() -> None:
    lines = whole(Export())
    lines[2], lines[3] = lines[3], lines[2]
    with pytest.raises(BrokenChain):
        audit(lines)


@pytest.mark.parametrize("name", ["time_ms", "sequence", "count", "body", "chain"])
def test_a_changed_record_is_noticed(name: str) -> None:
    lines = whole(Export())
    entry = json.loads(lines[2])
    value = entry[name]
    entry[name] = value + 1 if isinstance(value, int) else "AAAA" + value[4:]
    lines[2] = json.dumps(entry).encode()
    with pytest.raises(BrokenChain):
        audit(lines)


@pytest.mark.parametrize(
    "changes", [{"flow": "other"}, {"version": 2}, {"plan_hash": "cd" * 32}, {"sequence": 7}]
)
def test_a_changed_header_is_noticed(changes: dict[str, Any]) -> None:
    export = Export()
    with pytest.raises(BrokenChain):
        audit(export.lines(export.turns(export.seal(1), export.seal(2)), **changes))


def test_events_that_no_scheduler_writes_are_noticed_though_the_chain_holds() -> None:
    export = Export()
    turns: Sequence[Sequence[RunEvent]] = export.turns(export.seal(1), export.seal(2))[1:]
    with pytest.raises(BrokenChain, match="contradict each other"):
        audit(export.lines(turns))


def test_a_body_that_is_no_record_is_noticed_though_the_chain_holds() -> None:
    with pytest.raises(HeadraceError) as noticed:
        audit(Export().lines_of_bodies([(1, b"\xff\xff\xff")]))
    assert noticed.value.code.startswith("HR-3")


def test_the_command_prints_the_state_and_the_proof(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_bytes(b"".join(whole(Export())))
    answered = headrace("replay", str(file), "--at", "5")
    assert answered.exit_code == ExitCode.OK
    assert "event    5, " in answered.stdout
    assert answered.stderr.startswith("Verified  8 events in 3 records")
    document = json.loads(headrace("replay", str(file), "--json").stdout)
    assert (document["run"], document["verified"], document["sequence"]) == (RUN, True, 8)
    events = headrace("replay", str(file), "--events", "--json").stdout.splitlines()
    assert [json.loads(event)["sequence"] for event in events] == list(range(1, 9))


def test_the_command_ends_with_5_for_what_is_not_authentic(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    lines = whole(Export())
    file.write_bytes(b"".join(lines[:-1]))
    answered = headrace("replay", str(file))
    assert answered.exit_code == ExitCode.NOT_AUTHENTIC
    assert "something is missing" in answered.stderr
    export = Export()
    foreign = export.seal(1, owner="run_of_somebody_else")
    file.write_bytes(b"".join(export.lines(export.turns(foreign, export.seal(1)))))
    answered = headrace("replay", str(file), "--json")
    assert answered.exit_code == ExitCode.NOT_AUTHENTIC
    assert json.loads(answered.stdout)["verified"] is False


def test_a_file_that_is_no_export_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello", encoding="utf-8")
    for path in (file, tmp_path / "gone.jsonl"):
        answered = headrace("replay", str(path))
        assert answered.exit_code == ExitCode.REFUSED
        assert str(path) in answered.stderr
