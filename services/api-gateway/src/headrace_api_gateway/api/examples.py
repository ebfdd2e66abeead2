"""Examples of the API's documentation. A test compares them with what the API really takes."""

from typing import Any

RUN_ID = "run_0g0jq8a1b2c3d4e5f6g7h8"

START: dict[str, Any] = {"workflow": "greet", "input": {"name": "Ada"}, "priority": 0}
ACCEPTED: dict[str, Any] = {
    "id": RUN_ID,
    "status": "accepted",
    "url": f"/v1/runs/{RUN_ID}",
    "repeated": False,
}
DEFINITION = """\
flow: v1
name: greet
inputs:
  name: {type: string}
steps:
  hello: {uses: data.echo@1, with: {value: "Hello ${{ inputs.name }}"}}
outputs:
  text: ${{ steps.hello.output }}
"""
RUN: dict[str, Any] = {
    "id": RUN_ID,
    "flow": "greet",
    "version": 1,
    "status": "succeeded",
    "started_at": "2026-11-25T12:00:00.000Z",
    "ended_at": "2026-11-25T12:00:00.012Z",
    "output": {"text": "Hello Ada"},
    "error": None,
    "steps": {"hello": {"status": "succeeded", "attempt": 1, "output": "Hello Ada"}},
}
RUN_LIST: dict[str, Any] = {
    "runs": [{"id": RUN_ID, "flow": "greet", "version": 1, "status": "succeeded"}],
    "next_cursor": None,
}
EVENTS: dict[str, Any] = {
    "events": [{"sequence": 1, "time": "2026-11-25T12:00:00.000Z", "kind": "RunStarted"}],
    "more": True,
}
STATE: dict[str, Any] = {
    "sequence": 3,
    "state_hash": "9f" * 32,
    "state": {"id": RUN_ID, "status": "running"},
}
DIFF: dict[str, Any] = {
    "run": RUN_ID,
    "from": {"sequence": 3, "state_hash": "9f" * 32},
    "to": {"sequence": 5, "state_hash": "3c" * 32},
    "changes": [
        {"path": ["steps", "hello", "status"], "before": "running", "after": "succeeded"},
        {"path": ["steps", "greet"], "after": {"status": "ready"}},
    ],
    "more": False,
}
CANCEL: dict[str, Any] = {"reason": "ordered twice"}
CANCELLED: dict[str, Any] = {"id": RUN_ID, "status": "cancelling"}
RESUME: dict[str, Any] = {
    "edits": [
        {"step": "charge", "action": "retry"},
        {"step": "notify", "action": "skip"},
        {"step": "look-up", "action": "output", "value": {"rows": [], "row_count": 0}},
    ]
}
RESUMED: dict[str, Any] = {"id": RUN_ID, "status": "resumed"}
FORK: dict[str, Any] = {"sequence": 5, "outputs": {"hello": "Hello Bob"}, "reason": "misspelt"}
FORKED: dict[str, Any] = {
    "id": "run_1h1kr9b2c3d4e5f6g7h8j9",
    "status": "accepted",
    "url": "/v1/runs/run_1h1kr9b2c3d4e5f6g7h8j9",
    "repeated": False,
    "forked_from": {"run": RUN_ID, "sequence": 5},
    "version": 1,
    "reused": ["hello"],
    "edited": ["hello"],
    "again": [],
    "first": [],
    "effects": [],
    "note": None,
}
DECISION: dict[str, Any] = {"decision": "approved", "comment": "fine", "form": {"amount": 120}}
DECIDED: dict[str, Any] = {"id": RUN_ID, "step": "manager", "decision": "approved"}
HOOK_TAKEN: dict[str, Any] = {"id": RUN_ID, "status": "accepted", "repeated": False}
EVENT: dict[str, Any] = {
    "topic": "order.paid",
    "key": "o-4711",
    "body": {"amount": 120},
    "id": "payment-981",
}
EVENT_ID = "evt_7g0jq8a1b2c3d4e5f6g7h8"
EVENT_TAKEN: dict[str, Any] = {
    "id": EVENT_ID,
    "topic": "order.paid",
    "key": "o-4711",
    "repeated": False,
}
SIGNAL: dict[str, Any] = {"body": {"amount": 120}}
SIGNALLED: dict[str, Any] = {"id": RUN_ID, "signal": "order.paid", "repeated": False}
LETTER_ID = "ltr_7g0jq8a1b2c3d4e5f6g7h8"
LETTER_IN_LIST: dict[str, Any] = {
    "id": LETTER_ID,
    "status": "open",
    "run": RUN_ID,
    "flow": "order",
    "version": 3,
    "step": "charge",
    "attempt": 3,
    "operation": "http.post@1",
    "error_type": "http.500",
    "added_at": "2026-11-25T12:00:00.000Z",
    "decided_at": None,
    "decided_by": None,
    "as_run": None,
}
LETTER_LIST: dict[str, Any] = {"letters": [LETTER_IN_LIST], "next_cursor": None}
LETTER: dict[str, Any] = {
    **LETTER_IN_LIST,
    "error": {"type": "http.500", "message": "the server answered 500"},
    "reason": None,
}
LETTER_REASON: dict[str, Any] = {"reason": "the shop was down"}
REPLAYED_LETTER: dict[str, Any] = {
    "id": LETTER_ID,
    "status": "replayed",
    "as_run": "run_1h1kr9b2c3d4e5f6g7h8j9",
    "url": "/v1/runs/run_1h1kr9b2c3d4e5f6g7h8j9",
    "forked_from": {"run": RUN_ID, "sequence": 9},
}
DISCARDED_LETTER: dict[str, Any] = {"id": LETTER_ID, "status": "discarded"}
USAGE: dict[str, Any] = {
    "from": "2026-11-01T00:00:00.000Z",
    "to": "2026-11-25T12:00:00.000Z",
    "rows": [],
}
VALID: dict[str, Any] = {
    "valid": True,
    "name": "greet",
    "hash": "3c" * 32,
    "lock": {"data.echo@1": "1.0.0#a1"},
}
PUBLISHED: dict[str, Any] = {
    "name": "greet",
    "version": 1,
    "hash": "3c" * 32,
    "new": True,
    "label": "stable",
}
VERSION: dict[str, Any] = {
    "version": 1,
    "hash": "3c" * 32,
    "labels": ["stable"],
    "created_at_ms": 1_795_600_000_000,
}
WORKFLOWS: dict[str, Any] = {"workflows": [{"name": "greet", "versions": [VERSION]}]}
WORKFLOW: dict[str, Any] = {
    "name": "greet",
    "versions": [VERSION],
    "version": 1,
    "inputs": {"name": {"type": "string"}},
    "definition": DEFINITION,
}
LABEL: dict[str, Any] = {"name": "greet", "label": "stable", "version": 1}
TENANT: dict[str, Any] = {"id": "acme", "weight": 1, "created_at_ms": 1_795_600_000_000}
KEY: dict[str, Any] = {
    "id": "0123456789ab",
    "tenant": "acme",
    "name": "ci",
    "role": "starter",
    "created_at_ms": 1_795_600_000_000,
    "revoked": False,
}
MADE_KEY: dict[str, Any] = {
    **KEY,
    "key": "hr_live_0123456789ab_<32 letters, shown once>_<checksum>",
}
SECRET_VALUE: dict[str, Any] = {"value": "postgresql://reader:password@db.example.com/shop"}
SET_SECRET: dict[str, Any] = {"name": "shop_db", "version": 2}
SECRET: dict[str, Any] = {**SET_SECRET, "set_at": "2026-11-25T12:00:00.000Z"}
PAIR: dict[str, Any] = {"host": "db.internal", "port": 5432}
SUBJECT_NAME: dict[str, Any] = {"subject": "ada@example.com"}
SUBJECT: dict[str, Any] = {
    "id": "6c1f0f4e2b7d8a95301c44e0a7b6f2d9c3e85b1a0f7d6e5c4b3a29180f1e2d3c",
    "key": 17,
    "created_at": "2026-11-25T12:00:00.000Z",
    "erased_at": None,
    "erased_by": None,
}
ERASED_SUBJECT: dict[str, Any] = {
    **SUBJECT,
    "erased_at": "2026-11-26T12:00:00.000Z",
    "erased_by": "key:0123456789ab",
}
PROBLEM: dict[str, Any] = {
    "type": "docs/errors/HR-2005.md",
    "title": "Invalid input",
    "status": 422,
    "detail": "The input does not fit workflow greet@1.",
    "instance": "/v1/runs",
    "code": "HR-2005",
    "faults": ["input.name: this input is required"],
}


def answer(example: object, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """For `responses` of a route."""
    return {status: {"content": {"application/json": {"example": example}}}}
