"""Tables come back out of snapshots: laid out, revived on a scratch server, moved."""
