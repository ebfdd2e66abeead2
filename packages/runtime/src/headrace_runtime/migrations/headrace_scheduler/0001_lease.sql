-- A session is one scheduler process. Its row is renewed as a whole, so that renewing a hundred
-- leases writes one row; its key is also a session-level advisory lock that the process holds,
-- by which its death is seen before the row expires.
create table lease_session (
    session bigint primary key,
    owner text not null,
    address text not null,
    renewed timestamptz not null,
    expires timestamptz not null
) with (fillfactor = 50);

create table lease (
    part integer primary key,
    session bigint,
    owner text,
    address text,
    taken timestamptz,
    check ((session is null) = (owner is null) and (owner is null) = (address is null))
) with (fillfactor = 50);
