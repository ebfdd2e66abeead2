create table tenant (
    id text primary key,
    schema_name text not null unique,
    created timestamptz not null default now(),
    weight integer not null default 1 check (weight between 1 and 1000)
);

create table api_key (
    id text primary key,
    tenant text not null references tenant,
    secret_sha256 bytea not null,
    name text not null,
    role text not null,
    created timestamptz not null default now(),
    revoked timestamptz
);
create index api_key_of_tenant on api_key (tenant);

-- `plan` is the canonical JSON of the compiled plan, `definition` the source as it was published.
create table flow_version (
    tenant text not null references tenant,
    flow text not null,
    version integer not null,
    hash text not null,
    plan bytea not null,
    definition text not null,
    lock jsonb not null,
    created timestamptz not null default now(),
    primary key (tenant, flow, version),
    unique (tenant, hash)
);

create table flow_label (
    tenant text not null,
    flow text not null,
    label text not null check (label ~ '^[a-z][a-z0-9-]*$'),
    version integer not null,
    moved timestamptz not null default now(),
    primary key (tenant, flow, label),
    foreign key (tenant, flow, version) references flow_version
);
