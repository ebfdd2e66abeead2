"""Use cases of the gateway against its ports."""
