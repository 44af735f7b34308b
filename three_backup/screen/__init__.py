"""What a person sees: numbers and tables, the terminal, progress."""
