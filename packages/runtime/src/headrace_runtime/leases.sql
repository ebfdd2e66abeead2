-- name: create_rows
insert into headrace_scheduler.lease (part) select generate_series(0, $1::integer - 1)
on conflict do nothing;

-- name: watch_connection
-- Of this session alone: a host that lost its power is noticed in seconds and not in hours.
select set_config('tcp_keepalives_idle', '1', false),
    set_config('tcp_keepalives_interval', '1', false),
    set_config('tcp_keepalives_count', '2', false);

-- name: hold_session
select pg_try_advisory_lock($1);

-- name: renew
insert into headrace_scheduler.lease_session (session, owner, address, renewed, expires)
values ($1, $2, $3, now(), now() + $4::interval)
on conflict (session) do update set
    address = excluded.address, renewed = excluded.renewed, expires = excluded.expires;

-- name: survey
-- A session is alive while its row is not expired and its process holds the session's lock. One
-- that just lost its connection gets a moment ($1) to come back; and who lost his own connection
-- ($2, else 0) waits for the others too, since a restart of the server cuts everybody off.
with held as (
    select (classid::bigint << 32) | objid::bigint as session
    from pg_locks
    where locktype = 'advisory' and objsubid = 1 and granted
        and database = (select oid from pg_database where datname = current_database())
), alive as (
    select session from headrace_scheduler.lease_session
    where expires > now() and (
        session in (select session from held)
        or renewed > now() - $1::interval
        or (select backend_start from pg_stat_activity where pid = pg_backend_pid())
            > now() - $2::interval
    )
)
select lease.part, lease.session, alive.session is not null as alive,
    (select array_agg(session order by session) from alive) as sessions
from headrace_scheduler.lease left join alive using (session)
order by part;

-- name: take
-- Only rows that are still as the survey found them: two who take at once do not both succeed.
update headrace_scheduler.lease
set session = $1, owner = $2, address = $3, taken = now()
from unnest($4::integer[], $5::bigint[]) as wanted (part, session)
where lease.part = wanted.part and lease.session is not distinct from wanted.session
returning lease.part;

-- name: release
update headrace_scheduler.lease set session = null, owner = null, address = null, taken = null
where session = $1 and part = any($2::integer[]);

-- name: leave
delete from headrace_scheduler.lease_session where session = $1;

-- name: forget_dead
delete from headrace_scheduler.lease_session where expires < now() - interval '1 hour';

-- name: owners
select part, address from headrace_scheduler.lease order by part;
