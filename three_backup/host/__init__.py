"""This machine: locks, processes, signals, durable files, garbage collection, its id."""
