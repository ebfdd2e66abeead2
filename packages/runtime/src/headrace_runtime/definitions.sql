-- name: plan
select plan from headrace_control.flow_version where tenant = $1 and hash = $2;

-- name: by_number
select version, hash from headrace_control.flow_version
where tenant = $1 and flow = $2 and version = $3;

-- name: by_label
select version, hash from headrace_control.flow_label join headrace_control.flow_version
    using (tenant, flow, version)
where tenant = $1 and flow = $2 and label = $3;

-- name: lock_tenant
select weight from headrace_control.tenant where id = $1 for no key update;

-- name: by_hash
select flow, version, hash from headrace_control.flow_version where tenant = $1 and hash = $2;

-- name: next_version
insert into headrace_control.flow_version (tenant, flow, version, hash, plan, definition, lock)
select $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5, $6::text::jsonb
from headrace_control.flow_version where tenant = $1 and flow = $2
returning version, hash;

-- name: move_label
insert into headrace_control.flow_label (tenant, flow, label, version) values ($1, $2, $3, $4)
on conflict (tenant, flow, label) do update set version = excluded.version, moved = now();

-- name: definition
select definition, lock::text as lock from headrace_control.flow_version
where tenant = $1 and flow = $2 and version = $3;

-- name: flows
select flow, version, hash, created,
    array(
        select label from headrace_control.flow_label label
        where label.tenant = version.tenant and label.flow = version.flow
            and label.version = version.version
        order by label
    ) as labels
from headrace_control.flow_version version
where tenant = $1 and ($2 = '' or flow = $2)
order by flow, version;
