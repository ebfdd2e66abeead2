"""Flows tried without a server: the scheduler's own decisions, answers from a file, a clock that
jumps. Pure but for reading files."""
