"""Brings an instance or volume back.

It gets the target's name and configuration when it is whole. What had that name is removed last.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from three_backup.errors import BackupError
from three_backup.sources.base import Restored
from three_backup.sources.jobs import RestoreJob, Wanted
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.daemon.failures import NotFoundError
from three_backup.sources.lxd.receive import (
    Work,
    check_alone,
    located,
    opened,
    prepare,
    received,
    remove,
)


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
        work.client.rename(work.unfinished, work.wanted.target.level3)
    notes += (*work.target.finish(), *_drop_replaced(work, replaced=replaced))
    return Restored({"bytes_read": read}, tuple(notes))


def _make_room(work: Work) -> bool:
    """Clear what a killed restore left; return whether there is something to replace.

    What it made is removed. What it put aside gets its name back if nothing has that name now.
    Raises BackupError if something is in the way.
    """
    there = work.client.names_beside(work.wanted.target)
    if work.unfinished.level3 in there:
        remove(work.unfinished)
    replaced = work.wanted.target.level3 in there
    aside = work.aside.level3 in there
    if aside and not replaced:
        work.client.rename(work.aside, work.wanted.target.level3)
        replaced, aside = True, False
    if replaced:
        work.target.take_back()
        check_replaceable(work, aside=aside)
    if aside:
        remove(work.aside)
    return replaced


def check_replaceable(work: Work, *, aside: bool) -> None:
    """Raise BackupError unless what is there may be replaced.

    aside: what an earlier restore replaced is left, too.
    """
    if not work.job.overwrite:
        left = f", and what an earlier restore replaced is left as {work.aside.level3}"
        raise BackupError(
            f"{work.wanted.target.type}.exists",
            f"{work.about}: there is one already{left if aside else ''}",
            "replace it with --overwrite, or restore beside it with --level3-suffix",
        )
    _check_here(work)
    _check_kind(work)
    check_alone(work.wanted.target)
    work.target.check_replaceable()


def _check_here(work: Work) -> None:
    found = work.client.get(names.url(work.wanted.target), work.about)
    if not work.client.is_here(found):
        raise BackupError(
            f"{work.wanted.target.type}.elsewhere",
            f"{work.about}: it lies on {found['location']}, another member of the cluster",
            f"move it here first ({work.client.daemon.client} move --target), or restore beside "
            "it with --level3-suffix",
        )


def _check_kind(work: Work) -> None:
    there = located(work.wanted.target).subtype
    if there != work.wanted.target.subtype:
        raise BackupError(
            f"{work.wanted.target.type}.other_kind",
            f"{work.about}: a {names.KINDS[there]} has that name",
            "restore beside it with --level3-suffix",
        )


@contextmanager
def _out_of_the_way(work: Work, *, replaced: bool) -> Iterator[None]:
    """Rename what has the target's name; it gets the name back if the block fails."""
    if not replaced:
        yield
        return
    work.target.part()
    try:
        work.client.rename(work.wanted.target, work.aside.level3)
        work.target.give_away(work.aside)
        yield
    except BaseException:
        with suppress(BackupError):  # else LXD would not let both have the same addresses
            remove(work.unfinished)
        with suppress(NotFoundError):
            work.client.rename(work.aside, work.wanted.target.level3)
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
