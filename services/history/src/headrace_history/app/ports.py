"""What history needs from outside: stores, decoders, keys and plans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace_core.ids import PlanHash, RunId, StepKey, TenantId
from headrace_core.payload import Stored, Vault
from headrace_core.run.events import RunEvent
from headrace_core.run.status import RunStatus
from headrace_history.domain.projections.approvals import ApprovalRow
from headrace_history.domain.projections.letters import LetterRow
from headrace_history.domain.projections.runs import RunRow
from headrace_history.domain.projections.usage import UsageDelta, UsageKey
from headrace_history.domain.turns import Digest, JournalTurn, LogRecord
from headrace_history.domain.watermark import Flush, Watermark


class RecordReader(Protocol):
    """Reads what the log stores. Bodies raise UnknownEvent for a kind that this version does not
    know, all raise BrokenChain for bytes that are nothing of ours."""

    def record(self, offset: int, record: bytes) -> LogRecord: ...

    def digest(self, body: bytes) -> Digest:
        """What the projections need, without decoding the whole body; also of a body without
        run events."""
        ...

    def events(self, body: bytes) -> tuple[RunEvent, ...]: ...


@dataclass(slots=True)
class LoadedRun:
    """A run as the projections have it."""

    row: RunRow
    approvals: dict[StepKey, ApprovalRow] = field(default_factory=dict[StepKey, ApprovalRow])


class ProjectionStore(Protocol):
    """Written by one projector at a time: the last one that claimed."""

    async def claim(self, log_id: bytes, partitions: int) -> Sequence[Watermark]:
        """Become the writer; the watermarks, in order of partition.

        Raises WrongLog when the projections were made from another log.
        """
        ...

    async def load(self, wanted: Sequence[tuple[TenantId, RunId]]) -> Mapping[RunId, LoadedRun]:
        """Rows of these runs and their open approvals; unknown runs are left out."""
        ...

    async def write(self, flush: Flush) -> None:
        """All of it or nothing. Raises Fenced when another projector has claimed since."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Empty and None stand for "all"."""

    flow: str = ""
    status: RunStatus | None = None
    started_after_ms: int = 0
    started_before_ms: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of a list ended."""

    started_ms: int
    run: RunId


class RunStore(Protocol):
    async def row(self, tenant: TenantId, run: RunId) -> RunRow | None: ...

    async def rows(
        self, tenant: TenantId, wanted: RunFilter, after: Place | None, limit: int
    ) -> Sequence[RunRow]:
        """Newest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Empty stands for "all"; `after` is where the last page ended: (added_ms, letter)."""

    letter: str = ""
    flow: str = ""
    status: str = ""
    run: str = ""
    after: tuple[int, str] | None = None


class LetterStore(Protocol):
    async def letters(
        self, tenant: TenantId, wanted: LetterFilter, limit: int
    ) -> Sequence[LetterRow]:
        """Newest first."""
        ...


class JournalStore(Protocol):
    async def turns(
        self,
        tenant: TenantId,
        run: RunId,
        after_sequence: int = 0,
        chunks_max: int | None = None,
    ) -> Sequence[JournalTurn]:
        """Stored turns from the chunk that holds event `after_sequence` + 1 on, in order."""
        ...


class UsageStore(Protocol):
    async def usage(
        self, tenant: TenantId, from_ms: int, to_ms: int
    ) -> Mapping[UsageKey, UsageDelta]:
        """Rows of the days that these times fall on, by day, flow and model."""
        ...


class RunVault(Vault, Protocol):
    """A tenant's keys, at hand."""

    async def fetch(self, run: RunId, stored: Stored) -> bytes:
        """Bring what `open` misses to hand: a reference's content, or a new key.

        Raises BlobMissing, KeyErased or PayloadTampered.
        """
        ...


class Vaults(Protocol):
    async def vault(self, tenant: TenantId) -> RunVault: ...


class ExportVault(Protocol):
    """Keys of single runs and blobs, for exports. Never a tenant's data key itself."""

    async def run_key(self, run: RunId, key_id: int) -> bytes | None:
        """The key that opens this run's payloads alone; None when it was erased."""
        ...

    async def blob(self, run: RunId, stored: Stored) -> tuple[str, bytes, bytes]:
        """Address, sealed content and key of what a reference refers to.

        Raises BlobMissing, KeyErased or PayloadTampered.
        """
        ...


class ExportVaults(Protocol):
    async def export_vault(self, tenant: TenantId) -> ExportVault: ...


class Plans(Protocol):
    """What history reads of a published version."""

    async def sensitive_steps(self, tenant: TenantId, plan: PlanHash) -> frozenset[str] | None:
        """Paths (`group/step`) of the steps that are marked sensitive; None when the plan is not
        known."""
        ...

    async def worker_tasks(self, tenant: TenantId, plan: PlanHash) -> Mapping[str, Sequence[str]]:
        """The workers' tasks that steps call, by step: its own, then its fallbacks', empty where
        something else is called. Steps without one are left out."""
        ...

    async def document(self, tenant: TenantId, plan: PlanHash) -> Mapping[str, object] | None: ...
