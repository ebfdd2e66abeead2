"""The scheduler's loops: own partitions, decide, append, perform."""
