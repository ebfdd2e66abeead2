"""The client side of dispatch: what executors and workers speak with schedulers."""
