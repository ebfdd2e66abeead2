"""Turns folds, rows and events into documents: opens payloads, masks what is sensitive."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from headrace_core.errors import BlobMissing, PayloadError
from headrace_core.ids import PlanHash, RunId, TenantId
from headrace_core.payload import Stored, is_reference, key_id_of
from headrace_core.run.replay import StoredTurn
from headrace_core.run.status import StepStatus
from headrace_history.app.ports import Plans, RunVault, Vaults
from headrace_history.app.replayer import Folded
from headrace_history.domain.event_documents import event_documents
from headrace_history.domain.projections.letters import LetterRow
from headrace_history.domain.rendering import Document, Payloads, letter_document, run_document
from headrace_history.domain.timeline import timeline_of

Rendered = TypeVar("Rendered")
REFERENCES_MAX = 32
"""Large payloads fetched for one document; the others are shown as large."""


class Presenter:
    def __init__(self, vaults: Vaults, plans: Plans) -> None:
        self._vaults = vaults
        self._plans = plans

    async def run(self, folded: Folded, *, reveal_sensitive: bool = False) -> Document:
        state = folded.state
        timeline = timeline_of(folded.turns, state.sequence)
        tasks: Mapping[str, Sequence[str]] = {}
        if any(step.status is StepStatus.READY for step in state.steps.values()):
            tasks = await self._plans.worker_tasks(state.tenant, state.plan)

        def build(payloads: Payloads) -> Document:
            return run_document(state, payloads, timeline, tasks)

        return await self._render(
            state.tenant,
            state.run_id,
            state.plan,
            build,
            reveal_sensitive=reveal_sensitive,
        )

    async def events(
        self,
        tenant: TenantId,
        run: RunId,
        plan: PlanHash,
        turns: Sequence[StoredTurn],
        after_sequence: int,
    ) -> list[Document]:
        """Sensitive payloads stay masked: events also go to live screens and logs."""

        def build(payloads: Payloads) -> list[Document]:
            return [
                document
                for turn in turns
                for document in event_documents(turn, payloads, after_sequence)
            ]

        return await self._render(tenant, run, plan, build, reveal_sensitive=False)

    async def letter(self, tenant: TenantId, row: LetterRow) -> Document:
        def build(payloads: Payloads) -> Document:
            return letter_document(row, payloads)

        return await self._render(tenant, row.run, row.plan, build, reveal_sensitive=False)

    async def _render(
        self,
        tenant: TenantId,
        run: RunId,
        plan: PlanHash,
        build: Callable[[Payloads], Rendered],
        *,
        reveal_sensitive: bool,
    ) -> Rendered:
        vault = await self._vaults.vault(tenant)
        hidden: frozenset[str] | None = frozenset()
        if not reveal_sensitive:
            hidden = await self._plans.sensitive_steps(tenant, plan)
        payloads = Payloads(run, vault, hidden)
        rendered = build(payloads)
        if not payloads.missing:
            return rendered
        if not all(is_reference(stored) for stored in payloads.missing):
            # A key was missing, and with it most of what is to be shown.
            await _bring_keys(vault, run, payloads.missing)
            payloads = Payloads(run, vault, hidden)
            rendered = build(payloads)
            if not payloads.missing:
                return rendered
        lost: set[Stored] = set()
        for stored in payloads.missing[:REFERENCES_MAX]:
            try:
                await vault.fetch(run, stored)
            except BlobMissing:
                lost.add(stored)
            except PayloadError:
                # Shown as what it is when it is opened again.
                continue
        return build(Payloads(run, vault, hidden, lost))


async def _bring_keys(vault: RunVault, run: RunId, missing: Sequence[Stored]) -> None:
    for stored in {key_id_of(stored): stored for stored in missing}.values():
        with suppress(BlobMissing, PayloadError):
            await vault.fetch(run, stored)
