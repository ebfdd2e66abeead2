-- In the customer's database: unqualified names, as its login's search_path has them.

-- name: has_table
select to_regclass('headrace_idempotency') is not null;

-- name: create_table
create table headrace_idempotency (
    tenant text not null,
    key text not null,
    request bytea not null,
    answer json,
    created_at timestamptz not null default now(),
    primary key (tenant, key)
);

-- name: claim
insert into headrace_idempotency (tenant, key, request) values ($1, $2, $3)
on conflict do nothing;

-- name: keep
update headrace_idempotency set answer = $3::text::json where tenant = $1 and key = $2;

-- name: earlier
select request, answer::text as answer from headrace_idempotency where tenant = $1 and key = $2;
