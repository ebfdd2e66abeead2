-- Ids are in every sealed payload, in four bytes. Erasing a key keeps its row, so that a payload
-- of it is known to be erased and not taken for a foreign one.
create table data_key (
    id integer primary key generated always as identity,
    tenant text not null,
    month text not null check (month ~ '^\d{4}-\d{2}$'),
    wrapped bytea,
    created timestamptz not null default now(),
    erased timestamptz,
    check ((wrapped is null) = (erased is not null))
);
create unique index data_key_usable on data_key (tenant, month) where wrapped is not null;
create index data_key_of_tenant on data_key (tenant);
