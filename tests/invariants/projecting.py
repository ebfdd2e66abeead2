"""What history's own projections make of a log, as its tables would hold it: no database."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from headrace_core.ids import RunId, TenantId
from headrace_core.log.filter import LogFilter
from headrace_core.log.record import Envelope
from headrace_history.adapters.record_reader import ProtobufRecords
from headrace_history.app.open_run import OpenRun
from headrace_history.domain.projections.runs import COLUMNS
from headrace_history.domain.turns import LogRecord
from headrace_history.domain.watermark import TenantFlush
from tests.invariants.facts import Raw
from tests.invariants.witnesses import Projected, TenantTables

_COLUMNS = tuple("off" if name == "offset" else name for name in COLUMNS)


def projected_of(raw: Raw, log_id: bytes) -> Projected:
    """To the end of the log."""
    reader = ProtobufRecords()
    runs: dict[RunId, OpenRun] = {}
    for partition, entries in raw.items():
        accepts = LogFilter(log_id)
        for entry in entries:
            record = reader.record(entry.offset, entry.record)
            if accepts.accept(entry.offset, _envelope(record)) and record.run is not None:
                run = runs.setdefault(record.run, OpenRun.new(record.run, record.tenant, partition))
                run.take(record, reader)
    flushes: dict[TenantId, TenantFlush] = defaultdict(TenantFlush)
    for run in runs.values():
        run.write_into(flushes[run.row.tenant])
    return Projected(
        {partition: len(entries) for partition, entries in raw.items()},
        [TenantTables(tenant, _tables(flush)) for tenant, flush in flushes.items()],
    )


def _envelope(record: LogRecord) -> Envelope:
    return Envelope(
        log_id=record.log_id,
        partition=record.partition,
        epoch=record.epoch,
        seq=record.seq,
        time_ms=record.time_ms,
        tenant=record.tenant,
        run=record.run,
        sequence=record.sequence,
        chain=record.chain,
        claim=record.claim,
    )


def _tables(flush: TenantFlush) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in flush.new_rows]
    chunks = [
        {"run": run, "off": one.offset, "first": one.first, "last": one.last, "chunk": one.data}
        for run, one in flush.chunks
    ]
    usage = [{**key._asdict(), **asdict(added)} for key, added in flush.usage.items()]
    asked = [{"run": run, **asdict(row)} for run, row in flush.approvals]
    return {"run": rows, "journal": chunks, "usage": usage, "approval": asked}
