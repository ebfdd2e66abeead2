"""Loops and use cases of history, against the ports in ports.py."""
