-- Calls that failed for good, and what was decided of them. A letter and its decision may come from
-- different partitions: until both were read, the columns of the other hold their defaults.

create table dead_letter (
    letter text collate "C" primary key,
    run text collate "C" not null default '',
    step text collate "C" not null default '',
    attempt bigint not null default 0,
    flow text collate "C" not null default '',
    version integer not null default 0,
    plan text not null default '',
    operation text not null default '',
    error_type text not null default '',
    error_message bytea not null default '',
    added_ms bigint,
    status text collate "C" not null default 'open',
    decided_ms bigint,
    decided_by text not null default '',
    as_run text,
    reason bytea not null default ''
);

create index dead_letter_by_time on dead_letter (added_ms desc, letter desc);
create index dead_letter_open on dead_letter (added_ms desc, letter desc) where status = 'open';
create index dead_letter_by_run on dead_letter (run);
