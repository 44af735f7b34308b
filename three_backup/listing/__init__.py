"""What tb-list shows: objects, their snapshots, histories, and finds by name."""
