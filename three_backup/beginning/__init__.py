"""Brings a host from nothing to its first backup: answers, trials, files, a timer."""
