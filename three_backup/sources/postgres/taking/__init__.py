"""Take a snapshot of a cluster: stream its base backup and split it into packs."""
