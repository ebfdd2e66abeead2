-- name: add
insert into headrace_control.tenant (id, schema_name, weight) values ($1, $2, $3)
on conflict (id) do nothing;

-- name: one
select id, schema_name, weight, created from headrace_control.tenant where id = $1;

-- name: all
select id, schema_name, weight, created from headrace_control.tenant order by id;

-- name: set_weight
update headrace_control.tenant set weight = $2 where id = $1 returning id;
