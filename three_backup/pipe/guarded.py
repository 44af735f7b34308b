"""The boundary of a tool that holds something until its end: a guardian clears it away."""

from collections.abc import Callable
from functools import partial

from three_backup.errors import BackupError
from three_backup.host.guardian import guarded
from three_backup.pipe.boundary import main
from three_backup.pipe.failures import translated
from three_backup.pipe.invocation import Invocation
from three_backup.pipe.speech import complain, fill_closed_descriptors


def guarded_main(
    usage: str, run: Callable[[Invocation], int | None], *, restores: bool = False
) -> int:
    """Run a tool as main() does, in a guardian that ends with this process."""
    fill_closed_descriptors()  # else the guardian's pipe would take the place of one
    try:
        with translated():
            return guarded(partial(main, usage, run, restores=restores))
    except BackupError as error:
        complain(f"{usage.split(maxsplit=1)[0]}: {error}")
        return error.status
