"""The log's records, the filter that all readers share, and the hash chains."""
