"""Effects on the outside world: at most one per step, and never a false word about it."""
