"""History's way to the outside: PostgreSQL, protobuf bodies, the scheduler's hints."""
