"""The restore of a whole cluster: a chain becomes a data directory."""
