"""What tb-list shows: objects, their snapshots, and the moments between these."""
