"""A cluster becomes a snapshot: the stream of its base backup, split into packs."""
