"""What is due, what may go, and whether there is room for it."""
