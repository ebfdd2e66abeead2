-- name: lock
select pg_advisory_xact_lock(hashtextextended('headrace.roles', 0));

-- name: has_role
select exists (select from pg_roles where rolname = $1);

-- name: has_database
select exists (select from pg_database where datname = $1);

-- name: schema_owner
select rolname from pg_roles join pg_namespace on nspowner = pg_roles.oid where nspname = $1;

-- name: rights
select
    rolname as role,
    rolsuper or rolcreaterole as may_create_roles,
    has_database_privilege(current_database(), 'CREATE WITH GRANT OPTION') as may_pass_on_create
from pg_roles
where rolname = current_user;
