-- Each change is one statement whose condition is a row of effect_rules.py; no row back = refused.
-- now() is the statement's beginning, so waiting for a row's lock never makes a lease look lapsed.

-- name: claim
insert into headrace_effects.effect as held
    (day, tenant, run, key, attempt, claimant, status, lease_until, tainted)
values ($1, $2, $3, $4, $5, $6, 1, now() + $7::integer * interval '1 millisecond', false)
on conflict (day, tenant, run, key) do update set
    attempt = excluded.attempt, claimant = excluded.claimant, status = 1,
    lease_until = excluded.lease_until, tainted = held.status = 1, changed = now()
where held.status = 3 and held.attempt < excluded.attempt
    or $8 and held.status = 1 and held.attempt <= excluded.attempt and held.lease_until <= now()
        and (held.attempt <> excluded.attempt or held.claimant <> excluded.claimant)
returning tainted;

-- name: done
update headrace_effects.effect set status = 2, result = $7, tainted = false, changed = now()
where day = $1 and tenant = $2 and run = $3 and key = $4
    and status = 1 and attempt = $5 and claimant = $6
returning tainted;

-- name: fail
update headrace_effects.effect set status = 3, changed = now()
where day = $1 and tenant = $2 and run = $3 and key = $4
    and status = 1 and attempt = $5 and claimant = $6 and not tainted
returning tainted;

-- name: untaint
update headrace_effects.effect set tainted = false, changed = now()
where day = $1 and tenant = $2 and run = $3 and key = $4
    and status = 1 and attempt = $5 and claimant = $6
returning tainted;

-- name: renew
update headrace_effects.effect
set lease_until = now() + $7::integer * interval '1 millisecond', changed = now()
where day = $1 and tenant = $2 and run = $3 and key = $4
    and status = 1 and attempt = $5 and claimant = $6
returning tainted;

-- name: close
insert into headrace_effects.effect as held
    (day, tenant, run, key, attempt, claimant, status, lease_until, tainted)
values ($1, $2, $3, $4, $5, $6, 3, now(), false)
on conflict (day, tenant, run, key) do update set
    attempt = excluded.attempt, claimant = excluded.claimant, changed = now()
where held.status = 3 and held.attempt <= excluded.attempt
returning tainted;

-- name: read
select attempt, claimant, status, lease_until > now() as live, tainted, result
from headrace_effects.effect where day = $1 and tenant = $2 and run = $3 and key = $4;

-- name: ensure_day
select headrace_effects.ensure_day($1);
