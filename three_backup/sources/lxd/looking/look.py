"""Shows the files of a snapshot, and the configuration of what it holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from shlex import quote

from three_backup.config.yaml_text import yaml_text
from three_backup.model.objects import ObjectId
from three_backup.sources.jobs import RestoreJob
from three_backup.sources.looking import Asked, Shown, Way, no_rows
from three_backup.sources.lxd.daemon import names
from three_backup.sources.lxd.looking.files import asked
from three_backup.sources.lxd.looking.owners import owners
from three_backup.sources.lxd.looking.place import dataset_of
from three_backup.tree.request import Kind, Request, What

_PIECE = 1 << 20
ROOT = {names.CONTAINER: "rootfs"}
"""The folder of a dataset that is the root folder within."""

_LINKS = "links in it may lead to files of this host; tb-cat --path follows them within"
_SHIFTED = "its owners are those on disk; tb-cat --path tells those within"


@contextmanager
def look(job: RestoreJob) -> Iterator["Files"]:
    """Have the files ready. A definition needs none: it stands in the manifest."""
    if job.options.get("definition"):
        yield Files(job, "")
        return
    with dataset_of(job) as dataset:
        yield Files(job, dataset)


@dataclass(frozen=True, slots=True)
class Files:
    """The files and the definition of what a snapshot holds."""

    _job: RestoreJob
    _dataset: str

    def rows(self, object_id: ObjectId, asked: Asked) -> Iterator[bytes]:
        raise no_rows(object_id)

    def definition(self, object_id: ObjectId) -> Iterator[bytes]:
        facts = self._job.chain[-1].manifest.facts
        documents = (facts["configuration"], *facts.get("profiles", ()))
        yield "---\n".join(map(yaml_text, documents)).encode()

    def names(self, object_id: ObjectId, path: str) -> Iterator[bytes]:
        with asked(object_id, self._request(object_id, path, What.LIST)) as read:
            yield from read.bytes

    @contextmanager
    def at_path(self, object_id: ObjectId, path: str) -> Iterator[Shown]:
        with asked(object_id, self._request(object_id, path, What.READ)) as read:
            yield Shown(read.kind == Kind.TAR, iter(lambda: read.bytes.read(_PIECE), b""))

    @contextmanager
    def opened(self, object_id: ObjectId) -> Iterator[Way]:
        request = self._request(object_id, "/", What.HOLD)
        with asked(object_id, request) as read:
            notes = (_LINKS, _SHIFTED) if request.owners.ranges else (_LINKS,)
            yield Way(f"ls -lA {quote(read.folder)}", {"folder": read.folder}, notes)

    def _request(self, object_id: ObjectId, path: str, what: What) -> Request:
        configuration = self._job.chain[-1].manifest.facts["configuration"]
        return Request(
            dataset=self._dataset,
            root=ROOT.get(object_id.subtype, ""),
            path=path,
            what=what,
            label=str(object_id),
            owners=owners(object_id.subtype, configuration),
        )
