"""The pure words that everything shares: objects, records, snapshots, schedules, retention."""
