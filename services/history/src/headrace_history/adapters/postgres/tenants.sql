-- name: find
select schema_name from headrace_history.tenant where tenant = $1;

-- name: all
select tenant, schema_name from headrace_history.tenant order by schema_name;

-- name: has_control
select to_regclass('headrace_control.tenant') is not null;

-- name: chosen
select schema_name from headrace_control.tenant where id = $1;

-- name: remember
insert into headrace_history.tenant (tenant, schema_name) values ($1, $2)
on conflict (tenant) do nothing;
