"""Compares the trees of two moments, mounted where nobody else sees it, and the configurations."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any

from three_backup.config.yaml_text import yaml_text
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.comparing import CompareJob, Counts, Difference, changed_lines
from three_backup.sources.lxd.definition import definition
from three_backup.sources.lxd.looking.files import asked
from three_backup.sources.lxd.looking.look import ROOT
from three_backup.sources.lxd.looking.owners import owners
from three_backup.sources.lxd.looking.place import dataset_of, datasets_of, live_point
from three_backup.sources.lxd.take import describe
from three_backup.tree.comparison import COLUMNS
from three_backup.tree.request import Change, Request, What

_SIGNS = {
    Change.REMOVED: b"-",
    Change.ADDED: b"+",
    Change.BEFORE: b"-",
    Change.AFTER: b"+",
}


@contextmanager
def compare(job: CompareJob) -> Iterator["Trees"]:
    (wanted,) = job.earlier.wanted
    if job.repairs:
        raise BackupError(
            f"{wanted.object.type}.no_sql",
            f"{wanted.object}: no SQL brings its files back",
            "tb-cat --path takes some of them out, tb-restore --overwrite brings all back",
        )
    with _sides(job, wanted.object) as sides, TemporaryFile() as lines:
        yield Trees(*sides, lines)


@contextmanager
def _sides(job: CompareJob, object_id: ObjectId) -> Iterator[tuple["Side", "Side"]]:
    then = job.earlier.chain[-1].manifest.facts
    if job.later is None:
        with dataset_of(job.earlier) as dataset, live_point(object_id) as point:
            yield Side(dataset, then), Side(point, describe(object_id))
        return
    with datasets_of(job.earlier, job.later) as (earlier, later):
        yield Side(earlier, then), Side(later, job.later.chain[-1].manifest.facts)


@dataclass(frozen=True, slots=True)
class Side:
    """A moment of the object."""

    dataset: str
    facts: Mapping[str, Any]  # as manifests have them

    @property
    def definition(self) -> Sequence[str]:
        return yaml_text(definition(self.facts)).splitlines()


@dataclass(frozen=True, slots=True)
class Trees:
    """The two moments of an object."""

    earlier: Side
    later: Side
    _lines: IO[bytes]  # how they differ, once that is known

    def difference(self, object_id: ObjectId) -> Difference:
        counts = dict.fromkeys(Change, 0)
        with asked(object_id, self._request(object_id)) as read:
            for line in read.bytes:
                counts[Change(line[:1].decode())] += 1
                self._lines.write(line)
        return Difference(
            definition=self.earlier.definition != self.later.definition,
            counts=Counts(
                counts[Change.ADDED], counts[Change.REMOVED], changed=counts[Change.AFTER]
            ),
        )

    def definition(self, object_id: ObjectId) -> Iterator[bytes]:
        return changed_lines(self.earlier.definition, self.later.definition)

    def rows(self, object_id: ObjectId) -> Iterator[bytes]:
        yield f" {','.join(COLUMNS)}\n".encode()
        self._lines.seek(0)
        for line in self._lines:
            yield _SIGNS[Change(line[:1].decode())] + line[1:]

    def repair(self, objects: Sequence[ObjectId]) -> Iterator[bytes]:
        return iter(())

    def _request(self, object_id: ObjectId) -> Request:
        then, now = (
            owners(object_id.subtype, side.facts["configuration"])
            for side in (self.earlier, self.later)
        )
        return Request(
            dataset=self.earlier.dataset,
            root=ROOT.get(object_id.subtype, ""),
            path="/",
            what=What.COMPARE,
            label=str(object_id),
            owners=then,
            later=self.later.dataset,
            later_owners=now,
        )
