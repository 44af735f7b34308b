"""Decides what is due, what may be removed, and whether there will be room for a snapshot."""
