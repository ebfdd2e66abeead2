"""Policies as pure functions: when to try again."""
