-- `sealed` is nonce and AES-256-GCM ciphertext, bound to tenant, name and version.
create table secret (
    tenant text not null,
    name text not null,
    version integer not null check (version >= 1),
    sealed bytea not null,
    set_at timestamptz not null default now(),
    primary key (tenant, name, version)
);

-- Hosts in normal form: what the egress guard compares with.
create table egress_allow (
    tenant text not null,
    host text not null,
    port integer not null check (port between 1 and 65535),
    allowed_at timestamptz not null default now(),
    primary key (tenant, host, port)
);
