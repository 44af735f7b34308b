"""The snapshots on this host and in S3, and their files."""
