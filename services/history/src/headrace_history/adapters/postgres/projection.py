"""Writes projections: one transaction per flush, whatever the number of tenants.

Tenants with few rows share one multi-statement script; a tenant with many gets COPY, which spares
the server the parsing of megabytes of text. The commit is waited for on disk, whatever the
database's default: what was written is forgotten here, and this process may outlive a server that
would forget it too.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from operator import attrgetter
from pathlib import Path
from uuid import uuid4

from headrace_core.errors import Fenced, SetupError, WrongLog
from headrace_core.ids import RunId, StepKey, TenantId
from headrace_history.adapters.postgres.faults import passing_faults
from headrace_history.adapters.postgres.literals import row_literal
from headrace_history.adapters.postgres.rows import approval_row, run_row
from headrace_history.adapters.postgres.tenants import TenantSchemas
from headrace_history.app.ports import LoadedRun
from headrace_history.domain.projections import runs
from headrace_history.domain.projections.approvals import ApprovalRow
from headrace_history.domain.projections.letters import Decided, LetterRow
from headrace_history.domain.watermark import Flush, TenantFlush, Watermark
from headrace_runtime.postgres.pool import Pool, Session, open_connection
from headrace_runtime.postgres.sql import load_statements

STATEMENTS = load_statements(Path(__file__).with_name("projection.sql"))
COPY_ROWS_MIN = 8
"""Chunks of one tenant in a flush from which on COPY is cheaper than text."""
RUN_COLUMNS = tuple("off" if name == "offset" else name for name in runs.COLUMNS)
JOURNAL_COLUMNS = ("run", "off", "first", "last", "chunk")
_USAGE_VALUES = attrgetter(
    "runs", "attempts", "calls", "input_tokens", "output_tokens", "cost_micros"
)
_DURABILITY = "set local synchronous_commit = on;"

Copy = tuple[str, str, Sequence[str], Sequence[tuple[object, ...]]]


@cache
def statement(name: str, schema: str) -> str:
    """One text per schema, so that prepared statements are found again."""
    return STATEMENTS[name].replace("{schema}", schema)


class PostgresProjection:
    """ProjectionStore. An owner is drawn with each claim: whoever claims last may write, also
    against a transaction of its own whose end it never heard of."""

    def __init__(self, dsn: str, pool: Pool, schemas: TenantSchemas) -> None:
        self._dsn = dsn
        self._pool = pool
        self._schemas = schemas
        self._owner = ""
        self._session: Session | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close(timeout=2)

    async def claim(self, log_id: bytes, partitions: int) -> Sequence[Watermark]:
        session = await self._connected()
        self._owner = uuid4().hex
        with passing_faults():
            rows = await session.fetch(
                STATEMENTS["claim_watermarks"], log_id, partitions, self._owner
            )
        for row in rows:
            if row["log_id"] != log_id:
                raise WrongLog(
                    f"the projections were made from log {row['log_id'].hex()}, this log is "
                    f"{log_id.hex()}: point history at its own log, or rebuild the projections "
                    "from this one (python -m headrace_history rebuild)"
                )
        watermarks = [
            Watermark(
                partition=row["part"],
                log_id=row["log_id"],
                offset=row["off"],
                epoch=row["epoch"],
                next_seq=row["next_seq"],
                read_to=row["read_to"],
                last=row["last"],
            )
            for row in rows
        ]
        return sorted(watermarks, key=lambda watermark: watermark.partition)

    async def empty(self) -> None:
        """Take every row of every tenant and all watermarks away, at once or not at all."""
        session = await self._connected()
        names = await self._schemas.all()
        with passing_faults():
            async with session.transaction():
                await session.execute(STATEMENTS["forget_watermarks"])
                for schema in names.values():
                    await session.execute(statement("empty_tenant", schema))

    async def load(self, wanted: Sequence[tuple[TenantId, RunId]]) -> Mapping[RunId, LoadedRun]:
        by_tenant: dict[TenantId, list[RunId]] = {}
        for tenant, run in wanted:
            by_tenant.setdefault(tenant, []).append(run)
        found: dict[RunId, LoadedRun] = {}
        for tenant, ids in by_tenant.items():
            schema = await self._schemas.find(tenant)
            if schema is None:
                continue
            # Not by the session: a flush may be under way there.
            with passing_faults():
                rows = await self._pool.fetch(statement("load_runs", schema), ids)
                approvals = await self._pool.fetch(statement("load_approvals", schema), ids)
            for row in rows:
                found[RunId(row["run"])] = LoadedRun(run_row(tenant, row))
            for row in approvals:
                found[RunId(row["run"])].approvals[StepKey(row["step"])] = approval_row(row)
        return found

    async def write(self, flush: Flush) -> None:
        names = await self._schemas.ensure(flush.tenants)
        session = await self._connected()
        script, copies = [_DURABILITY], list[Copy]()
        for tenant in sorted(flush.tenants, key=names.__getitem__):
            _add_tenant(script, copies, names[tenant], flush.tenants[tenant])
        try:
            await self._write(session, flush.watermarks, script, copies)
        except BaseException:
            # Also when cancelled in the middle: what state the session is in is not worth asking.
            session.terminate()
            self._session = None
            raise

    async def _write(
        self,
        session: Session,
        watermarks: Sequence[Watermark],
        script: Sequence[str],
        copies: Sequence[Copy],
    ) -> None:
        with passing_faults():
            async with session.transaction():
                # First, so that a projector that was fenced writes nothing and says why.
                await self._move_watermarks(session, watermarks)
                await session.execute("".join(script))
                for schema, table, columns, rows in copies:
                    await session.copy_records_to_table(
                        table, schema_name=schema, columns=columns, records=rows
                    )

    async def _move_watermarks(self, session: Session, marks: Sequence[Watermark]) -> None:
        moved = await session.execute(
            STATEMENTS["move_watermarks"],
            [mark.partition for mark in marks],
            [mark.offset for mark in marks],
            [mark.epoch for mark in marks],
            [mark.next_seq for mark in marks],
            [mark.read_to for mark in marks],
            [mark.last for mark in marks],
            self._owner,
        )
        if moved != f"UPDATE {len(marks)}":
            raise Fenced(
                "another history process writes the projections now: this one stops",
                [mark.partition for mark in marks],
            )

    async def _connected(self) -> Session:
        if self._session is None or self._session.is_closed():
            with passing_faults():
                session = await open_connection(
                    self._dsn, application_name="headrace-history-projector"
                )
                conforming = await session.fetchval("show standard_conforming_strings")
            if conforming != "on":
                raise SetupError("the database has standard_conforming_strings off: turn it on")
            self._session = session
        return self._session


def _add_tenant(script: list[str], copies: list[Copy], schema: str, tenant: TenantFlush) -> None:
    chunks = [
        (run, chunk.offset, chunk.first, chunk.last, chunk.data) for run, chunk in tenant.chunks
    ]
    if len(chunks) >= COPY_ROWS_MIN:
        copies.append((schema, "run", RUN_COLUMNS, tenant.new_rows))
        copies.append((schema, "journal", JOURNAL_COLUMNS, chunks))
    else:
        _add_rows(script, "insert_runs", schema, tenant.new_rows)
        _add_rows(script, "insert_chunks", schema, chunks)
    _add_rows(script, "update_runs", schema, tenant.changed_rows)
    _add_rows(
        script,
        "add_usage",
        schema,
        [(*key, *_USAGE_VALUES(use)) for key, use in sorted(tenant.usage.items())],
    )
    _add_rows(
        script,
        "write_approvals",
        schema,
        [_approval_values(run, row) for run, row in tenant.approvals],
    )
    _add_rows(script, "write_letters", schema, [_letter_values(row) for row in tenant.letters])
    # A letter is decided once: two rows of one letter would be two copies of one record.
    latest = {one.letter: one for one in tenant.decisions}
    _add_rows(script, "decide_letters", schema, [_decided_values(one) for one in latest.values()])


def _add_rows(script: list[str], name: str, schema: str, rows: Sequence[Sequence[object]]) -> None:
    if rows:
        script.append(statement(name, schema).replace("{rows}", ",".join(map(row_literal, rows))))


def _approval_values(run: RunId, row: ApprovalRow) -> tuple[object, ...]:
    return (
        run,
        row.step,
        row.requested_ms,
        row.request,
        row.expires_at_ms,
        row.decision,
        row.closed_ms,
        row.answer,
    )


def _letter_values(row: LetterRow) -> tuple[object, ...]:
    return (
        row.letter,
        row.run,
        row.step,
        row.attempt,
        row.flow,
        row.version,
        row.plan,
        row.operation,
        row.error.type,
        row.error.message,
        row.added_ms,
    )


def _decided_values(one: Decided) -> tuple[object, ...]:
    return (one.letter, one.status, one.decided_ms, one.decided_by, one.as_run, one.reason)
