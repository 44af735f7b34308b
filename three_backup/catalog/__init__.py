"""Which snapshots exist, here and in S3, and their files."""
