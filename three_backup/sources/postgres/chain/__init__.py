"""Open the chain of a snapshot, lay it out as data directories, or read it through."""
