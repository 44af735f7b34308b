"""A server of our own replays archived WAL on a snapshot, up to the wanted moment."""
