"""The licence audit: flows, a worker, and the demonstration that runs them on one machine."""
