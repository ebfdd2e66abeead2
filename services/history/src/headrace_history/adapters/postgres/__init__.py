"""Projections in PostgreSQL: one schema per tenant, and the shared watermarks."""
