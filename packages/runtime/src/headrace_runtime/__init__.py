"""The I/O that every service shares: event log, PostgreSQL, payload sealing, RPC, life cycle."""
