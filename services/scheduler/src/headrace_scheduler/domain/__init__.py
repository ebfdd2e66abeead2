"""Decisions of the scheduler: pure functions of state, input and time."""
