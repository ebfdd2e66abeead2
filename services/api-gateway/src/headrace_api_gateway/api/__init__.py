"""Inbound: HTTP and WebSocket."""
