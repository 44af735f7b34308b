"""Which snapshot comes back, under which name, in which order."""
