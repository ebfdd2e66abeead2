-- name: load_checkpoint
select log_id, off, epoch, next_seq, state from headrace_scheduler.checkpoint where part = $1;

-- name: load_runs
select run, tenant, off, first_off, state from headrace_scheduler.run_snapshot
where part = $1 order by run;

-- name: load_start_keys
select key, fingerprint, run, expires_ms from headrace_scheduler.start_key
where part = $1 order by expires_ms, key;

-- name: lock_checkpoint
select log_id, off from headrace_scheduler.checkpoint where part = $1 for update;

-- name: create_checkpoint
insert into headrace_scheduler.checkpoint (part, log_id, off, epoch, next_seq, state)
values ($1, $2, -1, -1, 0, ''::bytea) on conflict (part) do nothing;

-- name: move_checkpoint
update headrace_scheduler.checkpoint
set off = $2, epoch = $3, next_seq = $4, state = $5 where part = $1;

-- name: write_runs
insert into headrace_scheduler.run_snapshot (part, run, tenant, off, first_off, state)
select $1, r.run, r.tenant, $2, r.first_off, r.state
from unnest($3::text[], $4::text[], $5::bigint[], $6::bytea[])
  as r (run, tenant, first_off, state)
on conflict (part, run) do update set off = excluded.off, state = excluded.state;

-- name: delete_runs
delete from headrace_scheduler.run_snapshot where part = $1 and run = any($2::text[]);

-- name: write_start_keys
insert into headrace_scheduler.start_key (part, key, fingerprint, run, expires_ms)
select $1, k.key, k.fingerprint, k.run, k.expires_ms
from unnest($2::bytea[], $3::bytea[], $4::text[], $5::bigint[])
  as k (key, fingerprint, run, expires_ms)
on conflict (part, key) do update
set fingerprint = excluded.fingerprint, run = excluded.run, expires_ms = excluded.expires_ms;

-- name: delete_start_keys
delete from headrace_scheduler.start_key where part = $1 and expires_ms <= $2;
