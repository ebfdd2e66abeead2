"""A run: its events, its state, and the one fold that leads from the first to the second."""
