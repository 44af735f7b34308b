"""How snapshots are kept and removed."""
