-- The checkpoint row is locked by every snapshot transaction, so that two owners cannot interleave.
create table headrace_scheduler.checkpoint (
  part int primary key,
  log_id bytea not null,
  off bigint not null,
  epoch bigint not null,
  next_seq bigint not null,
  state bytea not null
);

create table headrace_scheduler.run_snapshot (
  part int not null,
  run text not null,
  tenant text not null,
  off bigint not null,
  first_off bigint not null,
  state bytea not null,
  primary key (part, run)
);

create table headrace_scheduler.start_key (
  part int not null,
  key bytea not null,
  fingerprint bytea not null,
  run text not null,
  expires_ms bigint not null,
  primary key (part, key)
);
create index start_key_expiry on headrace_scheduler.start_key (part, expires_ms);
