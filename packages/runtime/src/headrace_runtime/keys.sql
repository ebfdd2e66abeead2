-- name: add
insert into headrace_keys.data_key (tenant, month, wrapped) values ($1, $2, $3)
on conflict (tenant, month) where wrapped is not null and subject is null do nothing
returning id;

-- name: usable
select id from headrace_keys.data_key
where tenant = $1 and month = $2 and wrapped is not null and subject is null;

-- name: of_tenants
select id, tenant, month, wrapped from headrace_keys.data_key
where tenant = any($1::text[]) and subject is null and (id > $2 or wrapped is null)
order by id;

-- name: erase
update headrace_keys.data_key set wrapped = null, erased = now()
where tenant = $1 and month between $2 and $3 and subject is null and wrapped is not null
returning id;

-- name: of_ids
select id, tenant, month, wrapped from headrace_keys.data_key
where tenant = $1 and id = any($2::integer[]);

-- name: erased_of
select id from headrace_keys.data_key where id = any($1::integer[]) and wrapped is null;

-- name: of_subject
select id from headrace_keys.data_key
where tenant = $1 and subject = $2 and wrapped is not null;

-- name: add_subject
select headrace_keys.add_subject_key($1, $2, $3, $4);

-- name: subjects
select id, subject, created, erased, erased_by from headrace_keys.data_key
where tenant = $1 and subject is not null and id > $2 and ($3::bytea is null or subject = $3)
order by id limit $4;

-- name: erase_subject
update headrace_keys.data_key set wrapped = null, erased = now(), erased_by = $3
where tenant = $1 and subject = $2 and wrapped is not null
returning id, subject, created, erased, erased_by;
