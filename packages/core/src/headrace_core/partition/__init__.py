"""What a partition itself remembers: start keys, schedules, messages to and from others."""
