"""ConnectorService and VaultService: one file per RPC; conversion happens here."""
