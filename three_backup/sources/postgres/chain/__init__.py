"""The chain of a snapshot: opened, laid out as data directories, read through."""
