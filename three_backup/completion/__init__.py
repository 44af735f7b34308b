"""Completion for shells: their scripts, and the words that these ask for at run time."""
