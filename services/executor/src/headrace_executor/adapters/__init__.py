"""Outbound I/O of the executor."""
