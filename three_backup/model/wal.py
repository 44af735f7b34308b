"""How the log of what happens between two snapshots gets into S3."""

from enum import StrEnum

SOURCE = "postgres"
"""The type of the source whose servers have such a log."""


class Wal(StrEnum):
    OFF = "off"
    PULL = "pull"  # tb-wal asks the server for it, from a slot of its own
    PUSH = "push"  # the server hands it to tb-wal, its archive_command
