-- Where the projections stand in each partition, and which schema is whose.

create table watermark (
    part integer primary key,
    log_id bytea not null,
    off bigint not null,
    epoch bigint not null,
    next_seq bigint not null,
    read_to bigint not null,
    last bytea not null,
    owner text not null
) with (fillfactor = 20);

create table tenant (
    tenant text primary key,
    schema_name text not null unique
);
