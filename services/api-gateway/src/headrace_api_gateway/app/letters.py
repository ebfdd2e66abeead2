"""Dead letters: look at them, replay or discard each, once.

Which decision came first is told for a day by a start key that both kinds of decision share, and
for ever by history, which is asked before.
"""

from typing import Any, cast

import orjson

from headrace_api_gateway.app.controlling import Controlling, Edit
from headrace_api_gateway.app.forking import Forking, Planned
from headrace_api_gateway.app.ports import Discard, Flows, History, Letter, Scheduler, Started
from headrace_api_gateway.domain.authorisation import Principal
from headrace_api_gateway.domain.forks import ForkRequest
from headrace_core.errors import InvalidState, KeyReused
from headrace_core.ids import LetterId, RunId, StepKey, compensated_by, stable_hash, step_path
from headrace_core.payload import NOTHING, subject_key_of
from headrace_core.run.status import RUN_TERMINAL, Repair, RunStatus

_ENDED = frozenset(status.text for status in RUN_TERMINAL)


class Letters:
    def __init__(
        self,
        scheduler: Scheduler,
        history: History,
        flows: Flows,
        forking: Forking,
        controlling: Controlling,
    ) -> None:
        self._scheduler = scheduler
        self._history = history
        self._flows = flows
        self._forking = forking
        self._controlling = controlling

    async def preview(self, principal: Principal, letter_id: str) -> Planned | None:
        """What a replay would reuse and run; None where the run itself would go on. Raises as
        `replay`."""
        letter, status = await self._replayable(principal, letter_id)
        if status == RunStatus.SUSPENDED.text:
            return None
        return await self._forking.preview(principal, letter.run, _request(letter))

    async def replay(
        self, principal: Principal, letter_id: str, reason: str
    ) -> tuple[Started, Planned | None]:
        """A suspended run goes on, its failed step tried again; of an ended one a fork begins.

        Raises NotFound, InvalidState for a letter that is decided or of a run that is under way,
        InvalidInput where the run cannot be repaired so.
        """
        letter, status = await self._replayable(principal, letter_id)
        if status == RunStatus.SUSPENDED.text:
            await self._controlling.resume(principal, letter.run, [Edit(letter.step, Repair.RETRY)])
            return Started(letter.run, repeated=False), None
        request = _request(letter, reason)
        planned = await self._forking.preview(principal, letter.run, request)
        try:
            started = await self._forking.begin(
                principal,
                planned,
                request,
                _start_key(principal, letter),
                _fingerprint(letter, "replay"),
                client_key=True,
                letter=letter,
            )
        except KeyReused:
            raise _decided(letter.letter, "discarded") from None
        return started, planned

    async def discard(self, principal: Principal, letter_id: str, reason: str) -> Letter:
        """Raises NotFound, InvalidState for a letter that is decided."""
        letter = await self._open(principal, letter_id)
        sealed = NOTHING
        if reason:
            point = await self._history.fork_point(principal.tenant, letter.run, 0)
            key = subject_key_of(point.state.input)
            sealer = await self._flows.sealer(principal.tenant, key)
            sealed = await sealer.seal(letter.run, orjson.dumps(reason))
        try:
            await self._scheduler.discard(
                Discard(
                    tenant=principal.tenant,
                    actor=principal.actor,
                    letter=letter,
                    reason=sealed,
                    start_key=_start_key(principal, letter),
                    fingerprint=_fingerprint(letter, "discard"),
                )
            )
        except KeyReused:
            raise _decided(letter.letter, "replayed") from None
        return letter

    async def _open(self, principal: Principal, letter_id: str) -> Letter:
        document = await self._document(self._history.letter, principal, letter_id)
        if document["status"] != "open":
            raise _decided(letter_id, document["status"], document)
        return Letter(LetterId(document["id"]), RunId(document["run"]), StepKey(document["step"]))

    async def _replayable(self, principal: Principal, letter_id: str) -> tuple[Letter, str]:
        """The letter, and the status of its run."""
        letter = await self._open(principal, letter_id)
        undone = compensated_by(letter.step)
        if undone is not None:
            raise InvalidState(
                f"Dead letter {letter_id} is about undoing step {undone!r}: no other run can do "
                "that. Undo it by hand, then discard the letter."
            )
        document = await self._document(self._history.run, principal, letter.run)
        status = cast(str, document["status"])
        if status not in _ENDED and status != RunStatus.SUSPENDED.text:
            raise InvalidState(
                f"Run {letter.run} of dead letter {letter_id} is {status}: it can be replayed "
                "once the run has ended or is suspended."
            )
        return letter, status

    async def _document(self, read: Any, principal: Principal, name: str) -> dict[str, Any]:
        return cast("dict[str, Any]", orjson.loads(await read(principal.tenant, name)))


def _request(letter: Letter, reason: str = "") -> ForkRequest:
    """Its step runs again also where its failure was within what a fan-out tolerates."""
    return ForkRequest(again=[step_path(letter.step)[0]], reason=reason)


def _start_key(principal: Principal, letter: Letter) -> bytes:
    return stable_hash(principal.tenant, "dead letter", letter.letter)


def _fingerprint(letter: Letter, decision: str) -> bytes:
    return stable_hash(letter.letter, decision)


def _decided(letter: str, status: str, document: dict[str, Any] | None = None) -> InvalidState:
    """Whoever decided at the same time is only known by `status`."""
    told = ""
    if document is not None:
        told = f" by {document['decided_by']} at {document['decided_at']}"
        if document["as_run"]:
            told += f", as {document['as_run']}"
    return InvalidState(f"Dead letter {letter} was {status}{told}: a letter is decided once.")
