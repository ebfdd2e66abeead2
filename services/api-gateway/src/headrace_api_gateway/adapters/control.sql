-- name: scheduled_triggers
select distinct trigger.key as name
from headrace_control.flow_version version,
    jsonb_each(convert_from(version.plan, 'UTF8')::jsonb -> 'triggers') trigger
where version.tenant = $1 and version.flow = $2 and trigger.value ->> 'kind' = 'schedule'
order by name;

-- name: ping
select 1;
