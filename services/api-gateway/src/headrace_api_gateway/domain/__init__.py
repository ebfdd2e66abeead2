"""Pure decisions of the gateway: credentials and requests."""
