-- {schema} and {where} are filled in by the adapters with checked identifiers and fixed conditions.

-- name: run
select run, status, sequence, off, chain, time_ms, flow, version, plan, trigger, started_by,
    priority, parent, parent_step, started_ms, ended_ms, error_type, failed_step,
    attempts, succeeded, failed, skipped, cancelled
from {schema}.run where run = $1;

-- name: runs
select run, status, sequence, off, chain, time_ms, flow, version, plan, trigger, started_by,
    priority, parent, parent_step, started_ms, ended_ms, error_type, failed_step,
    attempts, succeeded, failed, skipped, cancelled
from {schema}.run {where}
order by started_ms desc, run desc
limit {limit};

-- name: turns
select chunk from {schema}.journal
where run = $1 and last > $2
order by off
limit $3;

-- name: usage
select day, flow, model, runs, attempts, calls, input_tokens, output_tokens, cost_micros
from {schema}.usage
where day between $1 and $2
order by day, flow, model;

-- name: letters
select letter, run, step, attempt, flow, version, plan, operation, error_type, error_message,
    added_ms, status, decided_ms, decided_by, as_run, reason
from {schema}.dead_letter {where}
order by added_ms desc, letter desc
limit {limit};
