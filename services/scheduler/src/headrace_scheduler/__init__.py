"""Scheduler: owns partitions, decides what runs next, and writes the event log."""
