"""Brings a container or volume back.

It gets the target's name and configuration when it is whole. What had that name is removed last.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from three_backup.errors import BackupError
from three_backup.sources.base import Restored
from three_backup.sources.jobs import RestoreJob, Wanted
from three_backup.sources.lxd import client, names
from three_backup.sources.lxd.receive import Work, check_alone, opened, prepare, received, remove


def restore(job: RestoreJob) -> Iterator[tuple[Wanted, Restored | BackupError]]:
    for wanted in job.wanted:
        try:
            yield wanted, _restore(prepare(job, wanted))
        except BackupError as error:
            yield wanted, error


def _restore(work: Work) -> Restored:
    lock = opened(work)
    notes = list(work.target.check())
    work.target.check_allowed()
    replaced = _make_room(work)
    with received(work, lock) as read, _out_of_the_way(work, replaced=replaced):
        work.target.configure(work.unfinished)
        client.rename(work.unfinished, work.wanted.target.level3)
    notes += (*work.target.finish(), *_drop_replaced(work, replaced=replaced))
    return Restored({"bytes_read": read}, tuple(notes))


def _make_room(work: Work) -> bool:
    """Clear what a killed restore left; return whether there is something to replace.

    What it made is removed. What it put aside gets its name back if nothing has that name now.
    Raises BackupError if something is in the way.
    """
    there = client.names_beside(work.wanted.target)
    if work.unfinished.level3 in there:
        remove(work.unfinished)
    replaced = work.wanted.target.level3 in there
    if work.aside.level3 in there and not replaced:
        client.rename(work.aside, work.wanted.target.level3)
        work.target.take_back()
        replaced = True
    elif work.aside.level3 in there and work.job.overwrite:
        remove(work.aside)
    if replaced:
        check_replaceable(work)
    return replaced


def check_replaceable(work: Work) -> None:
    if not work.job.overwrite:
        raise BackupError(
            "lxd.exists",
            f"{work.about}: there is one already",
            "replace it with --overwrite, or restore beside it with --level3-suffix",
        )
    _check_here(work)
    check_alone(work.wanted.target)
    work.target.check_replaceable()


def _check_here(work: Work) -> None:
    found = client.get(names.url(work.wanted.target), work.about)
    if not client.is_here(found):
        raise BackupError(
            "lxd.elsewhere",
            f"{work.about}: it lies on {found['location']}, another member of the cluster",
            "move it here first (lxc move --target), or restore beside it with --level3-suffix",
        )


@contextmanager
def _out_of_the_way(work: Work, *, replaced: bool) -> Iterator[None]:
    """Rename what has the target's name; it gets the name back if the block fails."""
    if not replaced:
        yield
        return
    work.target.part()
    client.rename(work.wanted.target, work.aside.level3)
    try:
        work.target.give_away(work.aside)
        yield
    except BaseException:
        client.rename(work.aside, work.wanted.target.level3)
        work.target.take_back()
        raise


def _drop_replaced(work: Work, *, replaced: bool) -> tuple[str, ...]:
    if not replaced:
        return ()
    try:
        remove(work.aside)
    except BackupError as error:
        return (f"what it replaced is left as {work.aside.level3}: {error.message}",)
    return ()
