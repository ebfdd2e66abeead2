-- {schema} and {patience} are filled in by migrate.py, which checks them.

-- name: set_patience
select set_config('lock_timeout', '{patience}', true),
       set_config('statement_timeout', '{patience}', true);

-- name: lock
select pg_advisory_xact_lock(hashtextextended('headrace.migrate.' || $1::text, 0));

-- name: has_schema
select exists (select from pg_namespace where nspname = $1);

-- name: has_version_table
select to_regclass(format('%I.schema_version', $1::text)) is not null;

-- name: foreign_owner
select rolname from pg_roles join pg_namespace on nspowner = pg_roles.oid
where nspname = $1 and rolname <> current_user;

-- name: become
select set_config('role', $1, true);

-- name: create_version_table
create table {schema}.schema_version (
    number integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now()
);

-- name: applied_checksum
select checksum from {schema}.schema_version where number = $1;

-- name: record
insert into {schema}.schema_version (number, name, checksum) values ($1, $2, $3);
