"""gRPC between the services: servers, channels, coalescing streams."""
