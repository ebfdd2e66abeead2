"""The connectors of every installation: HTTP and PostgreSQL."""
