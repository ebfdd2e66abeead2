-- One row per operation with an outside effect, keyed by the step execution's own identity.
-- status: 1 claimed, 2 done, 3 failed before effect. lease_until is judged by this clock alone.
create table effect (
    day integer not null,
    tenant text not null,
    run text not null,
    key text not null,
    attempt integer not null,
    claimant text not null,
    status smallint not null check (status between 1 and 3),
    lease_until timestamptz not null,
    tainted boolean not null,
    result bytea,
    changed timestamptz not null default now(),
    check (not tainted or status = 1),
    check (result is null or status = 2),
    primary key (day, tenant, run, key)
) partition by list (day);

-- A partition per start day of runs, made when the first row of that day comes. It acts for the
-- schema's owner, so that whoever may write rows may also be the first of a day. Attaching, unlike
-- creating in place, does not wait for those who read and write other days.
create function ensure_day(wanted integer) returns void
language plpgsql security definer set search_path = headrace_effects, pg_temp as $body$
begin
    if wanted < 0 or wanted >= 1 << 20 then
        raise exception 'day % is out of range', wanted using errcode = 'invalid_parameter_value';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('headrace.effects.day', wanted));
    if to_regclass(format('headrace_effects.effect_%s', wanted)) is null then
        execute format('create table headrace_effects.effect_%s (like headrace_effects.effect '
            'including all)', wanted);
        execute format('alter table headrace_effects.effect attach partition '
            'headrace_effects.effect_%s for values in (%s)', wanted, wanted);
    end if;
end
$body$;
