"""Decides which snapshots are restored, under which names, and in which order."""
