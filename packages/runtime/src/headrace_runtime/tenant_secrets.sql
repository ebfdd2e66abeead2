-- name: newest_of
select distinct on (name) name, version, sealed from headrace_vault.secret
where tenant = $1 and name = any($2::text[])
order by name, version desc;

-- name: version
select coalesce(max(version), 0) from headrace_vault.secret where tenant = $1 and name = $2;

-- name: add
insert into headrace_vault.secret (tenant, name, version, sealed) values ($1, $2, $3, $4)
on conflict do nothing
returning version;

-- name: list
select distinct on (name) name, version, set_at from headrace_vault.secret
where tenant = $1
order by name, version desc;

-- name: delete
delete from headrace_vault.secret where tenant = $1 and name = $2 returning version;
