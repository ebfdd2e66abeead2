-- name: scheduled_triggers
select distinct trigger.key as name
from headrace_control.flow_version version,
    jsonb_each(convert_from(version.plan, 'UTF8')::jsonb -> 'triggers') trigger
where version.tenant = $1 and version.flow = $2 and trigger.value ->> 'kind' = 'schedule'
order by name;

-- name: hooks_at
select version.flow, version.version, trigger.key as trigger
from headrace_control.flow_label label
join headrace_control.flow_version version using (tenant, flow, version),
    jsonb_each(convert_from(version.plan, 'UTF8')::jsonb -> 'triggers') trigger
where label.tenant = $1 and label.label = $3
    and trigger.value ->> 'kind' = 'webhook' and trigger.value ->> 'path' = $2
order by version.flow, trigger.key;

-- name: ping
select 1;
