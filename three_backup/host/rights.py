"""Who else may read what a tool writes: nobody, but for what is made for others."""

import os

_PRIVATE = 0o077
_EVERYBODY = 0o666
_callers = [_PRIVATE]
"""The umasks that this process was started with, the last one counts."""


def keep_private() -> None:
    """Let nobody else read the files of this process; remember what its caller lets others do."""
    _callers.append(os.umask(_PRIVATE))


def mode_for_others() -> int:
    """Return the mode of a file made for others, as the umask of the caller has it."""
    return _EVERYBODY & ~_callers[-1]
