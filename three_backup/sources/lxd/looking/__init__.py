"""Looks into snapshots: mounts them where nobody else sees it, and reads what is wanted."""
