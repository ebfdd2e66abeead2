"""Where a reader of the log stands, and what a flush writes together with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace_core.ids import RunId, TenantId
from headrace_history.domain.projections.approvals import ApprovalRow
from headrace_history.domain.projections.journal import Chunk
from headrace_history.domain.projections.letters import Decided, LetterRow
from headrace_history.domain.projections.usage import UsageDelta, UsageKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """Everything below `offset` is in the projections; reading goes on there, with the filter at
    (`epoch`, `next_seq`). Records from `offset` to below `read_to` may be in them as well: what a
    run's row already covers is skipped. `last` is the SHA-256 of the record at `read_to` - 1, by
    which a rewound log is noticed."""

    partition: int
    log_id: bytes
    offset: int = 0
    epoch: int = -1
    next_seq: int = 0
    read_to: int = 0
    last: bytes = b""


@dataclass(slots=True)
class TenantFlush:
    """What one flush adds to one tenant's schema; rows of runs in the order of runs.COLUMNS."""

    new_rows: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])
    changed_rows: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])
    chunks: list[tuple[RunId, Chunk]] = field(default_factory=list[tuple[RunId, Chunk]])
    approvals: list[tuple[RunId, ApprovalRow]] = field(
        default_factory=list[tuple[RunId, ApprovalRow]]
    )
    letters: list[LetterRow] = field(default_factory=list[LetterRow])
    decisions: list[Decided] = field(default_factory=list[Decided])
    usage: dict[UsageKey, UsageDelta] = field(default_factory=dict[UsageKey, UsageDelta])


@dataclass(frozen=True, slots=True)
class Flush:
    """One transaction: rows and chunks of all tenants, and the watermarks that they lead to."""

    tenants: Mapping[TenantId, TenantFlush]
    watermarks: Sequence[Watermark]
