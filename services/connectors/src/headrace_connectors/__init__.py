"""Connectors: one attempt at an outside system at a time, through the egress guard."""
