"""An export, verified and replayed without any service: the auditor's half of the record. Pure."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from headrace_cli.export_vault import ExportVault
from headrace_contracts.codec import decode_body
from headrace_core.errors import BrokenChain, InvalidInput, KeyErased, PayloadTampered
from headrace_core.payload import BlobMissingHere, Stored, is_reference
from headrace_core.run.freeze import state_hash
from headrace_core.run.replay import StoredTurn, replay
from headrace_core.run.state import RunState
from headrace_core.workflow.plan import PlanStep
from headrace_core.workflow.plan_json import plan_from_json
from headrace_history.api.json_text import json_text
from headrace_history.domain.event_documents import event_documents
from headrace_history.domain.export import ExportHeader, stored_of, verify
from headrace_history.domain.rendering import Document, Payloads, run_document
from headrace_history.domain.timeline import timeline_of

PAYLOAD_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Audit:
    """An export that holds what it says. `sensitive` None stands for every step."""

    header: ExportHeader
    turns: Sequence[StoredTurn]
    vault: ExportVault
    sensitive: frozenset[str] | None

    def state_at(self, sequence: int, *, reveal: bool = False) -> dict[str, Any]:
        """As the API answers the state after event `sequence`; 0 is the newest.

        Raises InvalidInput when there is no such event.
        """
        state = _fold(self.header, self.turns, sequence)
        timeline = timeline_of(self.turns, state.sequence)
        document = run_document(state, self._shown(reveal=reveal), timeline)
        return {
            "sequence": state.sequence,
            "state_hash": state_hash(state),
            "state": _plain(document),
        }

    def events(self, until: int, *, reveal: bool = False) -> Iterator[dict[str, Any]]:
        """As the API lists them, up to event `until`; 0 is all of them."""
        payloads = self._shown(reveal=reveal)
        for turn in self.turns:
            for document in event_documents(turn, payloads):
                if until and document["sequence"] == until + 1:
                    return
                yield _plain(document)

    def payloads(self) -> Mapping[str, int]:
        """How many open, how many are erased or lost, and how many are not what was sealed."""
        found = Counter(self._condition(stored) for stored in self._stored())
        return {name: found[name] for name in ("opened", "erased", "lost", "tampered")}

    def _stored(self) -> Iterator[Stored]:
        return (stored for turn in self.turns for stored in stored_of(turn.events))

    def _condition(self, stored: Stored) -> str:
        try:
            self.vault.open(self.header.run, stored)
        except KeyErased:
            return "erased"
        except BlobMissingHere:
            return "lost"
        except PayloadTampered:
            return "tampered"
        return "opened"

    def _shown(self, *, reveal: bool) -> Payloads:
        hidden = frozenset[str]() if reveal else self.sensitive
        lost = {
            stored
            for stored in self._stored()
            if is_reference(stored) and self._condition(stored) == "lost"
        }
        return Payloads(self.header.run, self.vault, hidden, lost, PAYLOAD_BYTES_MAX)


def audit(lines: Iterable[bytes]) -> Audit:
    """Check an export line by line and as a whole.

    Raises BrokenChain where anything was changed, added or left out, and UnknownEvent for an
    event that this version does not know.
    """
    header, journal, blobs = verify(lines)
    turns = [
        StoredTurn(
            turn.offset,
            turn.time_ms,
            turn.sequence,
            turn.chain,
            decode_body(turn.body).run_events,
        )
        for turn in journal
    ]
    state = _fold(header, turns, 0)
    found = (state.flow, state.version, state.plan)
    if found != (header.flow, header.version, header.plan_hash):
        raise BrokenChain(
            f"The header says that {header.run} is a run of {header.flow}@{header.version}, its "
            f"events say {state.flow}@{state.version}: the header was changed."
        )
    vault = ExportVault(header.tenant, header.keys, {blob.blob: blob for blob in blobs})
    return Audit(header, turns, vault, _sensitive_steps(header.plan))


def _fold(header: ExportHeader, turns: Sequence[StoredTurn], sequence: int) -> RunState:
    try:
        return replay(header.run, header.tenant, turns, sequence or None)
    except ValueError as fault:
        raise InvalidInput(f"{fault}.") from fault
    except (AssertionError, LookupError) as fault:
        # The chain holds, yet no scheduler writes this: it was made by hand.
        raise BrokenChain(f"The events of {header.run} contradict each other: {fault}") from fault


def _sensitive_steps(plan: Mapping[str, object] | None) -> frozenset[str] | None:
    if plan is None:
        return None
    try:
        steps = plan_from_json(json.dumps(plan)).steps
    except ValidationError:
        return None
    return frozenset(step.id for step in _every(steps) if step.sensitive)


def _every(steps: Mapping[str, PlanStep]) -> Iterator[PlanStep]:
    for step in steps.values():
        yield step
        if step.group is not None:
            yield from _every(step.group.steps)


def _plain(document: Document) -> dict[str, Any]:
    return json.loads(json_text(document))
