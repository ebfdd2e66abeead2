"""ConnectorService and VaultService; conversion happens here."""
