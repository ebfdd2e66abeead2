-- What history derives from the log for one tenant. Times are epoch milliseconds.

create table run (
    run text collate "C" primary key,
    status smallint not null,
    sequence bigint not null,
    off bigint not null,
    chain bytea not null,
    time_ms bigint not null,
    flow text collate "C" not null,
    version integer not null,
    plan text not null,
    trigger text not null,
    started_by text not null,
    priority integer not null,
    parent text,
    parent_step text,
    started_ms bigint not null,
    ended_ms bigint,
    error_type text not null,
    failed_step text,
    attempts bigint not null,
    succeeded bigint not null,
    failed bigint not null,
    skipped bigint not null,
    cancelled bigint not null
) with (fillfactor = 90);

create index run_by_start on run (started_ms desc, run desc);
create index run_by_flow on run (flow, started_ms desc, run desc);
create index run_by_status on run (status, started_ms desc, run desc);
create index run_by_parent on run (parent) where parent is not null;

-- A chunk's payloads are sealed, so compressing them again only burns time.
create table journal (
    run text collate "C" not null,
    off bigint not null,
    first bigint not null,
    last bigint not null,
    chunk bytea storage external not null,
    primary key (run, off)
) with (toast_tuple_target = 8160);

create table usage (
    day integer not null,
    flow text collate "C" not null,
    model text collate "C" not null,
    runs bigint not null,
    attempts bigint not null,
    calls bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cost_micros bigint not null,
    primary key (day, flow, model)
);

create table approval (
    run text collate "C" not null,
    step text collate "C" not null,
    requested_ms bigint not null,
    request bytea not null,
    expires_at_ms bigint,
    decision text not null,
    closed_ms bigint,
    answer bytea not null,
    primary key (run, step)
);

create index approval_open on approval (requested_ms desc) where decision = '';
