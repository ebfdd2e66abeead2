-- name: add
insert into headrace_vault.egress_allow (tenant, host, port) values ($1, $2, $3)
on conflict do nothing;

-- name: remove
delete from headrace_vault.egress_allow where tenant = $1 and host = $2 and port = $3
returning port;

-- name: has
select exists (
    select from headrace_vault.egress_allow where tenant = $1 and host = $2 and port = $3
);

-- name: list
select host, port from headrace_vault.egress_allow where tenant = $1 order by host, port;
