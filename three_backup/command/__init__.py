"""Run other programs: by argv, never through a shell; a failure becomes a sentence."""

from three_backup.command.child import signal_name
from three_backup.command.installed import folder_of
from three_backup.command.life import growth, own_work
from three_backup.command.pipeline import Pipeline, joined
from three_backup.command.program import Program
from three_backup.command.running import Begun, begun, feed, pipe, run, stream

__all__ = [
    "Begun",
    "Pipeline",
    "Program",
    "begun",
    "feed",
    "folder_of",
    "growth",
    "joined",
    "own_work",
    "pipe",
    "run",
    "signal_name",
    "stream",
]
