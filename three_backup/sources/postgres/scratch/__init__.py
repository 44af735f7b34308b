"""Run the private server that a snapshot's data directory is started with."""
