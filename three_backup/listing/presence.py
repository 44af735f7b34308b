"""Says whether an object is still there, without asking its source."""

from three_backup.model.objects import Carrier
from three_backup.watching.last_run import LastRun


def is_live(carrier: Carrier, last: LastRun | None, *, in_newest: bool | None) -> bool | None:
    """Return whether an object was there when somebody last looked; None where nobody knows.

    Many objects share a carrier: its newest snapshot holds all that live. in_newest: whether it
    holds this one; None if it is disabled or could not be read. An object of its own has no
    snapshot that lacks it, so the last run tells.
    """
    if not carrier.is_object:
        return in_newest
    if last is None:
        return None
    if carrier in last.carriers:
        return True
    return False if carrier.type in last.listed else None


def in_a_word(*, live: bool | None) -> str:
    return {True: "live", False: "gone", None: "?"}[live]
