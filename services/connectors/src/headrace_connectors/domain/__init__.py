"""Pure decisions of connectors: which actions there are, how values and answers are read."""
