"""Output for people: numbers and tables, the terminal, progress."""
