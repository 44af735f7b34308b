"""Find the files whose pages have wrong checksums at the source; the server sends them unchanged.

One bad page must not stop all backups, so the snapshot is kept. It does not promise the objects
that need a damaged file: a restore takes them from an older snapshot.
"""

import re
from collections.abc import Iterator, Mapping

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.sources.postgres.index import File, Form
from three_backup.sources.postgres.mapping import database_of, relation_of
from three_backup.sources.postgres.taking.parent import Parent
from three_backup.sources.postgres.taking.replication import Streamed
from three_backup.sources.postgres.taking.settle import Mapped

DAMAGED = "damaged"
"""The manifest fact that lists the paths of damaged files."""

# The server's message is in its own language, with the name of the file in quotes.
_QUOTES = "\"'«»„“”‹›「」"
_NAME = rf"[^{_QUOTES}]*/\d+(?:_(?:fsm|vm|init))?(?:\.\d+)?"
_QUOTED = re.compile(rf"[{_QUOTES}]\s?({_NAME})\s?[{_QUOTES}]")


def damaged_files(
    streamed: Streamed, parent: Parent | None, files: Mapping[str, File]
) -> dict[str, str]:
    """Return the damaged files by path, each with what was said of it.

    The server does not read again what the parent holds. So a file that is damaged in the parent
    stays damaged unless it was sent whole. Raises BackupError if the server names no file, or one
    that is not in the backup.
    """
    named: dict[str, str] = {}
    for said in streamed.damage:
        for path in map(str, _QUOTED.findall(said)):
            named.setdefault(_path(path, streamed.tablespaces), said)
    if streamed.damage and not (named and files.keys() >= named.keys()):
        raise _damaged(streamed.damage[0])
    for path in parent.manifest.facts.get(DAMAGED, ()) if parent else ():
        if path in files and files[path].form is not Form.FULL:
            named.setdefault(path, "it was so in the snapshot before")
    return {path: said for path, said in named.items() if files[path].form is not Form.LEFT_OUT}


def damaged_objects(
    objects: Mapping[ObjectId, Mapped], files: Mapping[str, str]
) -> dict[ObjectId, str]:
    """Return the objects that need a damaged file, each with the path of that file.

    A relation that belongs to no object is needed by its whole database. Raises BackupError if
    every database needs the file.
    """
    damaged: dict[ObjectId, str] = {}
    for path, said in files.items():
        relation = relation_of(path)
        if relation is None:
            raise _damaged(said)
        owners = [
            object_id for object_id, mapped in objects.items() if relation in mapped.relations
        ]
        database = database_of(relation)
        everything = (
            object_id for object_id, mapped in objects.items() if mapped.database == database
        )
        damaged.update(dict.fromkeys(owners or everything, path))
    return damaged


def sentences(files: Mapping[str, str], damaged: Mapping[ObjectId, str]) -> Iterator[str]:
    """Yield a sentence on each damaged file, for people."""
    for path, said in files.items():
        owners = [str(object_id) for object_id, needed in damaged.items() if needed == path]
        more = f" and {len(owners) - 1} more" if len(owners) > 1 else ""
        of = f", a file of {owners[0]}{more}," if owners else ""
        yield f"{path}{of} has pages whose checksums are wrong ({said})"


def _path(name: str, tablespaces: Mapping[int, str]) -> str:
    """Return the path in the data directory of the file that the server calls name."""
    for oid, location in tablespaces.items():
        if name.startswith(f"{location}/"):
            return f"pg_tblspc/{oid}/{name.removeprefix(f'{location}/')}"
    return name.removeprefix("./")


def _damaged(said: str) -> BackupError:
    return BackupError(
        "postgres.damaged",
        f"PostgreSQL: pages have wrong checksums that every database needs ({said})",
        "check the disk of the server; pg_checksums finds all of them once it is stopped",
    )
