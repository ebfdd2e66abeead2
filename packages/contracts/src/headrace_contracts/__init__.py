"""The wire: generated protobuf modules and the one codec between them and the core."""
