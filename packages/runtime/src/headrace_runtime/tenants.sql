-- name: add
insert into headrace_control.tenant (id, schema_name, weight) values ($1, $2, $3)
on conflict (id) do nothing;

-- name: one
select id, schema_name, weight, created from headrace_control.tenant where id = $1;

-- name: all
select id, schema_name, weight, created from headrace_control.tenant order by id;

-- name: set_weight
update headrace_control.tenant set weight = $2 where id = $1 returning id;

-- name: add_key
insert into headrace_control.api_key (id, tenant, secret_sha256, name, role)
values ($1, $2, $3, $4, $5);

-- name: key
select id, tenant, secret_sha256, name, role, created, revoked
from headrace_control.api_key where id = $1;

-- name: keys_of
select id, tenant, secret_sha256, name, role, created, revoked
from headrace_control.api_key where tenant = $1 order by created, id;

-- name: revoke_key
update headrace_control.api_key set revoked = coalesce(revoked, now())
where tenant = $1 and id = $2 returning id;
