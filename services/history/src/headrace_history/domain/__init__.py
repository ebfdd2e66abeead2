"""Pure decisions of history: what rows, chunks and documents follow from events."""
