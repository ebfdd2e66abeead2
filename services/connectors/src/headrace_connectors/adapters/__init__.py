"""The way to the outside that all connectors share: vault, HTTP clients, database pools."""
