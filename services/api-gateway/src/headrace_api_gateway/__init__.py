"""API gateway: the public HTTP and WebSocket API, tenants, keys and published workflows."""
