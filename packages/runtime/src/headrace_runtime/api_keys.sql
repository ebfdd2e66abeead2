-- name: find
select id, tenant, secret_sha256, name, role, created, revoked
from headrace_control.api_key where id = $1;

-- name: add
insert into headrace_control.api_key (id, tenant, secret_sha256, name, role)
values ($1, $2, $3, $4, $5)
returning id, tenant, secret_sha256, name, role, created, revoked;

-- name: of_tenant
select id, tenant, secret_sha256, name, role, created, revoked
from headrace_control.api_key where tenant = $1 order by created, id;

-- name: revoke
update headrace_control.api_key set revoked = coalesce(revoked, now())
where tenant = $1 and id = $2 returning id;
