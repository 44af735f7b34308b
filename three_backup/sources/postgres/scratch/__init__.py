"""The private server that brings a snapshot to life."""
