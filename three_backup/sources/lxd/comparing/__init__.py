"""Compares what a snapshot holds with another one, or with what is live."""
