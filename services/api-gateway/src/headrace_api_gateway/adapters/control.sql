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

-- name: scheduled_triggers
select distinct trigger.key as name
from headrace_control.flow_version version,
    jsonb_each(convert_from(version.plan, 'UTF8')::jsonb -> 'triggers') trigger
where version.tenant = $1 and version.flow = $2 and trigger.value ->> 'kind' = 'schedule'
order by name;

-- name: ping
select 1;
