-- name: create_log
with created as (
    insert into headrace_log.log (log_id, partitions) values ($1, $2)
    on conflict do nothing
    returning partitions
)
insert into headrace_log.head (part)
select part from created, generate_series(0, partitions - 1) as part;

-- name: describe
select log_id, partitions from headrace_log.log;

-- name: prepare_session
-- Durability only ever upwards: a server may wait for its standbys too (remote_apply). What a
-- client gave up must not stay in the queue for a head.
select
    set_config('client_connection_check_interval', '500ms', false),
    case when current_setting('synchronous_commit') in ('off', 'local')
        then set_config('synchronous_commit', 'on', false) end;

-- name: claim
select headrace_log.claim($1, $2);

-- name: append
select headrace_log.append($1, $2, $3, $4, $5);

-- name: read_many
-- One row per record, at least one per wanted partition: heads and records of one snapshot. A
-- partition's records end early when they exceed $4 bytes; the first one always comes.
select wanted.part, head.first_off, head.next_off, found.off, found.rec
from unnest($1::integer[], $2::bigint[]) as wanted (part, off)
join headrace_log.head using (part)
left join lateral (
    select sized.off, sized.rec
    from (
        select record.off, record.rec,
            sum(octet_length(record.rec)) over (order by record.off rows unbounded preceding)
                - octet_length(record.rec) as bytes_before
        from headrace_log.record
        where record.part = wanted.part and record.off >= wanted.off
        order by record.off
        limit $3
    ) as sized
    where sized.bytes_before < $4
) as found on true;

-- name: ends
select next_off from headrace_log.head order by part;

-- name: give_up
update headrace_log.head set first_off = greatest(first_off, least($2, next_off))
where part = $1
returning next_off;

-- name: first_record
select min(off) from headrace_log.record where part = $1;

-- name: delete_slice
delete from headrace_log.record where part = $1 and off < $2;
