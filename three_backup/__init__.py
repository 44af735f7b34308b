"""Incremental backups of LXD, PostgreSQL and ClickHouse into S3, as a pipeline of small tools."""

__version__ = "1.0.0"
