"""Decisions of the executor: pure, without I/O."""
