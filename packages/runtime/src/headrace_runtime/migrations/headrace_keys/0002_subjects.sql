-- A data subject's key stands beside the tenant's months and can be erased by itself. The subject
-- is known by an HMAC alone. Its month says when it was made.
alter table data_key
    add column subject bytea check (length(subject) = 32),
    add column erased_by text not null default '';
drop index data_key_usable;
create unique index data_key_usable on data_key (tenant, month)
    where wrapped is not null and subject is null;
create unique index data_key_of_subject on data_key (tenant, subject)
    where wrapped is not null and subject is not null;
drop index data_key_of_tenant;
create index data_key_of_tenant on data_key (tenant) where subject is null;
create index data_key_subjects on data_key (tenant, id) where subject is not null;

-- Whoever may read keys may add a subject's, and change nothing: a schedule and a sub-flow start
-- runs of a data subject too, and neither is started by the owner of this schema.
create function add_subject_key(of_tenant text, of_month text, of_subject bytea, with_key bytea)
returns integer
language sql security definer set search_path = headrace_keys
as $$
    insert into headrace_keys.data_key (tenant, month, subject, wrapped)
    values (of_tenant, of_month, of_subject, with_key)
    on conflict (tenant, subject) where wrapped is not null and subject is not null do nothing
    returning id;
$$;
