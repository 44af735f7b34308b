"""The runtime of every tool: arguments, records in and out, failures, signals, exit status."""

from three_backup.pipe.arguments import if_running, is_stored, sample_size
from three_backup.pipe.boundary import main
from three_backup.pipe.failures import Once, translated
from three_backup.pipe.guarded import guarded_main
from three_backup.pipe.invocation import PROGRAM, Invocation
from three_backup.pipe.repeated import quiet
from three_backup.pipe.speech import complain, tell

__all__ = [
    "PROGRAM",
    "Invocation",
    "Once",
    "complain",
    "guarded_main",
    "if_running",
    "is_stored",
    "main",
    "quiet",
    "sample_size",
    "tell",
    "translated",
]
