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

-- name: subscriptions
select version.version, version.hash, trigger.key as trigger
from headrace_control.flow_label label
join headrace_control.flow_version version using (tenant, flow, version),
    jsonb_each(convert_from(version.plan, 'UTF8')::jsonb -> 'triggers') trigger
where label.tenant = $1 and label.label = $3
    and trigger.value ->> 'kind' = 'event' and trigger.value ->> 'topic' = $2
order by version.flow, trigger.key;

-- name: keep_ms
select coalesce(max(coalesce((awaited ->> 'keep_ms')::bigint, $3)), 0) as keep_ms
from headrace_control.flow_label join headrace_control.flow_version version
    using (tenant, flow, version),
    jsonb_path_query(
        convert_from(version.plan, 'UTF8')::jsonb,
        '$.**.wait.event ? (@.topic == $topic)',
        jsonb_build_object('topic', $2::text)
    ) awaited
where tenant = $1;

-- name: ping
select 1;
