"""Pure values and rules: objects, records, snapshots, stages, schedules, retention."""
