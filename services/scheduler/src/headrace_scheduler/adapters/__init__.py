"""The scheduler's outgoing side: executors' streams, stores."""
