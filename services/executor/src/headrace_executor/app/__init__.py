"""Use cases of the executor, against its ports."""
