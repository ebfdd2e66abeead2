"""The kinds of actions that run here."""
