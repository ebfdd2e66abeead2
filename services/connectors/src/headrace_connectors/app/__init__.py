"""Use cases of connectors, against the ports in ports.py."""
