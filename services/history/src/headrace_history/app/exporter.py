"""Exports a run: everything that an auditor needs to replay and verify it, and nothing else."""

from collections.abc import AsyncGenerator, Sequence

from headrace_core.errors import BlobMissing, PayloadError
from headrace_core.ids import RunId, TenantId
from headrace_core.payload import Stored, is_reference
from headrace_core.run.replay import StoredTurn, replay
from headrace_history.app.ports import ExportVault, ExportVaults, Plans
from headrace_history.app.replayer import Replayer
from headrace_history.domain.export import (
    BlobLine,
    ExportHeader,
    key_ids_of,
    line,
    stored_of,
    turn_line,
)


class Exporter:
    def __init__(self, replayer: Replayer, plans: Plans, vaults: ExportVaults) -> None:
        self._replayer = replayer
        self._plans = plans
        self._vaults = vaults

    async def lines(self, tenant: TenantId, run: RunId) -> AsyncGenerator[bytes, None]:
        """The lines of `domain.export`, as of this call. Raises NotFound."""
        turns = await self._replayer.turns(tenant, run)
        decoded = [self._replayer.decode(turn) for turn in turns]
        payloads = [stored for turn in decoded for stored in stored_of(turn.events)]
        vault = await self._vaults.export_vault(tenant)
        yield line(await self._header(tenant, run, decoded, payloads, vault))
        for turn in turns:
            yield turn_line(turn)
        async for blob in _blobs(vault, run, payloads):
            yield line(blob)

    async def _header(
        self,
        tenant: TenantId,
        run: RunId,
        turns: Sequence[StoredTurn],
        payloads: Sequence[Stored],
        vault: ExportVault,
    ) -> ExportHeader:
        state = replay(run, tenant, turns)
        keys = {number: await vault.run_key(run, number) for number in key_ids_of(payloads)}
        return ExportHeader(
            run=run,
            tenant=tenant,
            flow=state.flow,
            version=state.version,
            plan_hash=state.plan,
            plan=await self._plans.document(tenant, state.plan),
            sequence=state.sequence,
            chain=state.chain,
            keys={number: key for number, key in sorted(keys.items()) if key is not None},
        )


async def _blobs(
    vault: ExportVault, run: RunId, payloads: Sequence[Stored]
) -> AsyncGenerator[BlobLine, None]:
    """Each blob once. One that is erased or lost is left out: the run verifies without it."""
    seen: set[str] = set()
    for stored in payloads:
        if not is_reference(stored):
            continue
        try:
            address, sealed, key = await vault.blob(run, stored)
        except (BlobMissing, PayloadError):
            continue
        if address not in seen:
            seen.add(address)
            yield BlobLine(blob=address, key=key, sealed=sealed)
