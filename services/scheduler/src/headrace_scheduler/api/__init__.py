"""The scheduler's incoming side: one module per RPC."""
