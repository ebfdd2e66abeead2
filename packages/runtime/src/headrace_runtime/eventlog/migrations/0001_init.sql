create table log (
    singleton boolean primary key default true check (singleton),
    log_id bytea not null check (octet_length(log_id) = 16),
    partitions integer not null check (partitions > 0),
    created timestamptz not null default now()
);

-- Room on the page lets every update stay there (HOT): a head moves with each append.
create table head (
    part integer primary key,
    epoch bigint not null default -1,
    next_off bigint not null default 0,
    first_off bigint not null default 0
) with (fillfactor = 20);

create table record (
    part integer not null,
    off bigint not null,
    rec bytea not null,
    primary key (part, off)
);
-- Records are compressed and sealed before they come here.
alter table record alter column rec set storage external;

-- An owner's epoch is the offset of its own claim. The head stays locked until the commit, so the
-- order of commits is the order of offsets and readers never see a gap.
create function claim(a_part integer, a_rec bytea) returns bigint
language plpgsql as $$
declare
    claimed bigint;
begin
    update headrace_log.head set epoch = next_off, next_off = next_off + 1
    where part = a_part
    returning epoch into claimed;
    insert into headrace_log.record (part, off, rec) values (a_part, claimed, a_rec);
    return claimed;
end
$$;

-- All or nothing. `parts` must rise, so that two owners lock heads in the same order; `recs` holds
-- the records of parts[1], then those of parts[2], and so on. Raises HR001 when a head is not where
-- its owner believes; the detail lists "part:epoch:next_off" of those heads.
create function append(
    parts integer[], epochs bigint[], offs bigint[], counts integer[], recs bytea[]
) returns void
language plpgsql as $$
declare
    done integer := 0;
    stale text;
begin
    for i in 1 .. cardinality(parts) loop
        update headrace_log.head set next_off = offs[i] + counts[i]
        where part = parts[i] and epoch = epochs[i] and next_off = offs[i];
        if not found then
            stale := concat_ws(' ', stale, (
                select concat_ws(':', part, epoch, next_off)
                from headrace_log.head where part = parts[i]
            ));
        end if;
    end loop;
    if stale is not null then
        raise exception using
            errcode = 'HR001', message = 'stale owner, nothing was stored', detail = stale;
    end if;
    for i in 1 .. cardinality(parts) loop
        insert into headrace_log.record (part, off, rec)
        select parts[i], offs[i] + place - 1, rec
        from unnest(recs[done + 1 : done + counts[i]]) with ordinality as one (rec, place);
        done := done + counts[i];
    end loop;
end
$$;
