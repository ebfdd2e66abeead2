"""States, events and lists as text."""

from headrace_cli.rendering.event_line import render_event
from headrace_cli.rendering.lists import (
    render_egress,
    render_keys,
    render_runs,
    render_secrets,
    render_tenants,
    render_workflows,
)
from headrace_cli.rendering.proof import render_proof
from headrace_cli.rendering.state import render_state
from headrace_cli.rendering.style import PLAIN, Style
from headrace_cli.rendering.values import duration_text, payload_text
from tests.unit.cli.documents import START, event, run, step

WIDE = Style(width=160)


def test_a_state_shows_its_event_its_hash_and_every_step() -> None:
    state = run(
        "running",
        {
            "read": step("succeeded", output={"rows": [1, 2]}),
            "pause": step("waiting", attempt=0, waiting="timer", due_at=START),
            "hidden": step("succeeded", output={"$masked": "the step is marked sensitive"}),
        },
    )
    shown = render_state({"sequence": 9, "state_hash": "ab12", "state": state}, PLAIN)
    assert "event    9, 2026-11-25 10:00:04 UTC\nhash     ab12\n" in shown
    assert shown.splitlines()[-3:] == [
        'read    succeeded  1        {"rows": [1, 2]}',
        "pause   waiting             for timer until 10:00:00.000",
        "hidden  succeeded  1        (the step is marked sensitive)",
    ]


def test_an_event_is_one_line_without_what_only_programs_need() -> None:
    assigned = event(3, "StepAssigned", 0, step="read", attempt=1, executor="exec_1", token=77)
    assert render_event(assigned, PLAIN) == (
        "    3  10:00:00.000  StepAssigned        read  attempt=1 executor=exec_1"
    )


def test_an_event_says_from_where_a_step_was_reached() -> None:
    edges = [
        {"source": "ask", "port": "approved", "state": "active"},
        {"source": "auto", "port": None, "state": "inactive"},
    ]
    shown = render_event(event(4, "StepReady", 0, step="pay", edges=edges), PLAIN)
    assert shown.endswith("StepReady           pay  after=ask.approved")


def test_an_event_with_an_error_reads_like_one() -> None:
    error = {"type": "http.503", "message": {"$masked": "the step is marked sensitive"}}
    shown = render_event(event(4, "StepFailed", 0, step="call", attempt=1, error=error), WIDE)
    assert "error=http.503: (the step is marked sensitive)" in shown


def test_runs_are_listed_with_their_error() -> None:
    row = {
        **run("failed", {}),
        "started_at": START,
        "duration_ms": 1_240,
        "error_type": "http.503",
        "failed_step": "call",
    }
    assert render_runs([row], PLAIN) == (
        "RUN    WORKFLOW  STATUS  STARTED                  TOOK    ERROR\n"
        "run_1  orders@3  failed  2026-11-25 10:00:00 UTC  1.24 s  http.503 in call\n"
    )


def test_colours_do_not_shift_columns() -> None:
    row = {**run("failed", {}), "error_type": None, "failed_step": None}
    plain = render_runs([row], PLAIN)
    painted = render_runs([row], Style(colours=True))
    assert painted != plain
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[31m"):
        painted = painted.replace(code, "")
    assert painted == plain


def test_the_newest_version_of_a_workflow_comes_first() -> None:
    versions = [
        {
            "version": n,
            "labels": ["stable"] if n == 1 else [],
            "created_at_ms": 0,
            "hash": "ab" * 32,
        }
        for n in (1, 2)
    ]
    lines = render_workflows([{"name": "orders", "versions": versions}], PLAIN).splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["2", "1"]


def test_tenants_keys_secrets_and_addresses_are_tables() -> None:
    tenants = [{"id": "acme", "weight": 1, "created_at_ms": 0}]
    assert "kept in the home" in render_tenants(tenants, ["acme"], PLAIN)
    assert "kept in the home" not in render_tenants(tenants, [], PLAIN)
    key = {"id": "k1", "name": "ci", "role": "viewer", "created_at_ms": 0, "revoked": True}
    assert render_keys([key], PLAIN).splitlines()[1].endswith("revoked")
    secret = {"name": "db", "version": 2, "set_at": START}
    assert render_secrets([secret], PLAIN).splitlines()[1].startswith("db      2        2026-11-25")
    assert render_egress([{"host": "127.0.0.1", "port": 80}], PLAIN).splitlines()[1] == (
        "127.0.0.1  80"
    )


def test_a_proof_counts_what_it_checked() -> None:
    proof = {
        "events": 12,
        "records": 5,
        "chain": "ab12",
        "payloads": {"opened": 4, "erased": 1, "lost": 0, "tampered": 0},
    }
    assert render_proof(proof) == (
        "Verified  12 events in 5 records, as they were written\n"
        "Chain     ab12\n"
        "Payloads  4 opened, 1 erased"
    )
    tampered = {**proof, "payloads": {"opened": 4, "erased": 0, "lost": 0, "tampered": 1}}
    assert "do not trust" in render_proof(tampered)


def test_durations_are_read_by_people() -> None:
    durations = (None, 0, 840, 1_240, 12_300, 185_000, 7_800_000, 200_000_000)
    assert [duration_text(one) for one in durations] == [
        "",
        "0 ms",
        "840 ms",
        "1.24 s",
        "12.3 s",
        "3 min 5 s",
        "2 h 10 min",
        "2 d 7 h",
    ]


def test_a_payload_is_one_line_that_is_cut() -> None:
    assert payload_text({"a": ["ü", None]}, PLAIN, 60) == '{"a": ["ü", null]}'
    assert payload_text("x" * 100, PLAIN, 10) == '"xxxxxxxx…'
