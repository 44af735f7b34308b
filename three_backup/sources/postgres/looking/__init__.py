"""Looks into snapshots: a private server reads what is wanted, and nothing else is fetched."""
