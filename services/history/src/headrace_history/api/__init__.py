"""HistoryService: one file per RPC; conversion happens here, core types inside."""
