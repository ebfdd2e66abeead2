-- {schema} is filled in by projection.py with a checked identifier, {rows} with literals. Columns
-- of run stand in the order of headrace_history.domain.projections.runs.COLUMNS.

-- name: insert_runs
insert into {schema}.run (
    run, status, sequence, off, chain, time_ms, flow, version, plan, trigger, started_by, priority,
    parent, parent_step, started_ms, ended_ms, error_type, failed_step,
    attempts, succeeded, failed, skipped, cancelled
) values {rows};

-- name: update_runs
insert into {schema}.run (
    run, status, sequence, off, chain, time_ms, flow, version, plan, trigger, started_by, priority,
    parent, parent_step, started_ms, ended_ms, error_type, failed_step,
    attempts, succeeded, failed, skipped, cancelled
) values {rows}
on conflict (run) do update set
    status = excluded.status, sequence = excluded.sequence, off = excluded.off,
    chain = excluded.chain, time_ms = excluded.time_ms, ended_ms = excluded.ended_ms,
    error_type = excluded.error_type, failed_step = excluded.failed_step,
    attempts = excluded.attempts, succeeded = excluded.succeeded, failed = excluded.failed,
    skipped = excluded.skipped, cancelled = excluded.cancelled;

-- name: insert_chunks
insert into {schema}.journal (run, off, first, last, chunk) values {rows};

-- name: add_usage
insert into {schema}.usage as u (
    day, flow, model, runs, attempts, calls, input_tokens, output_tokens, cost_micros
) values {rows}
on conflict (day, flow, model) do update set
    runs = u.runs + excluded.runs, attempts = u.attempts + excluded.attempts,
    calls = u.calls + excluded.calls, input_tokens = u.input_tokens + excluded.input_tokens,
    output_tokens = u.output_tokens + excluded.output_tokens,
    cost_micros = u.cost_micros + excluded.cost_micros;

-- name: write_approvals
insert into {schema}.approval (
    run, step, requested_ms, request, expires_at_ms, decision, closed_ms, answer
) values {rows}
on conflict (run, step) do update set
    requested_ms = excluded.requested_ms, request = excluded.request,
    expires_at_ms = excluded.expires_at_ms, decision = excluded.decision,
    closed_ms = excluded.closed_ms, answer = excluded.answer;

-- name: write_letters
insert into {schema}.dead_letter (
    letter, run, step, attempt, flow, version, plan, operation, error_type, error_message, added_ms
) values {rows}
on conflict (letter) do update set
    run = excluded.run, step = excluded.step, attempt = excluded.attempt, flow = excluded.flow,
    version = excluded.version, plan = excluded.plan, operation = excluded.operation,
    error_type = excluded.error_type, error_message = excluded.error_message,
    added_ms = excluded.added_ms;

-- name: decide_letters
insert into {schema}.dead_letter (letter, status, decided_ms, decided_by, as_run, reason)
values {rows}
on conflict (letter) do update set
    status = excluded.status, decided_ms = excluded.decided_ms, decided_by = excluded.decided_by,
    as_run = excluded.as_run, reason = excluded.reason;

-- name: load_runs
select run, status, sequence, off, chain, time_ms, flow, version, plan, trigger, started_by,
    priority, parent, parent_step, started_ms, ended_ms, error_type, failed_step,
    attempts, succeeded, failed, skipped, cancelled
from {schema}.run where run = any($1::text[]);

-- name: load_approvals
select run, step, requested_ms, request, expires_at_ms, decision, closed_ms, answer
from {schema}.approval where run = any($1::text[]) and decision = '';

-- name: move_watermarks
update headrace_history.watermark w set
    off = x.off, epoch = x.epoch, next_seq = x.next_seq, read_to = x.read_to, last = x.last
from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])
    as x (part, off, epoch, next_seq, read_to, last)
where w.part = x.part and w.owner = $7;

-- name: claim_watermarks
insert into headrace_history.watermark (part, log_id, off, epoch, next_seq, read_to, last, owner)
select part, $1::bytea, 0, -1, 0, 0, '', $3::text from generate_series(0, $2::integer - 1) part
on conflict (part) do update set owner = excluded.owner
returning part, log_id, off, epoch, next_seq, read_to, last;

-- name: forget_watermarks
delete from headrace_history.watermark;

-- name: empty_tenant
truncate {schema}.run, {schema}.journal, {schema}.usage, {schema}.approval, {schema}.dead_letter;
