"""Looks at a cluster as it was at a moment, and finds when something was dropped."""
