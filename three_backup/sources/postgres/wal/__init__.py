"""Archived WAL: what lies between snapshots, in S3, and how it gets there and back."""
