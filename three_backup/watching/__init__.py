"""Judges how the backups stand, and tells people and programs of it."""
