"""This machine: locks, processes, signals, durable files, what tells it from others."""
