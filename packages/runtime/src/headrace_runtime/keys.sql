-- name: add
insert into headrace_keys.data_key (tenant, month, wrapped) values ($1, $2, $3)
on conflict (tenant, month) where wrapped is not null do nothing
returning id;

-- name: usable
select id from headrace_keys.data_key where tenant = $1 and month = $2 and wrapped is not null;

-- name: of_tenants
select id, tenant, month, wrapped from headrace_keys.data_key
where tenant = any($1::text[]) and (id > $2 or wrapped is null)
order by id;

-- name: erase
update headrace_keys.data_key set wrapped = null, erased = now()
where tenant = $1 and month between $2 and $3 and wrapped is not null
returning id;
