"""The definition language `flow: v1`: from text to an immutable plan, or every fault at once."""
