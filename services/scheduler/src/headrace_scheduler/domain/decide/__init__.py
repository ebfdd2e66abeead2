"""One module per command, one function that decides it."""
