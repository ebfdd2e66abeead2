"""Outbound: schedulers, history, PostgreSQL, payload keys."""
