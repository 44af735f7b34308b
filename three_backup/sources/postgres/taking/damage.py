"""Files with pages whose checksums are wrong at the source: the server sends them as they are.

One bad page must not stop all backups, so the snapshot is kept. What needs a damaged file is not
among the objects that it promises: a restore takes them out of an older one.
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
"""The paths of such files, among the facts of a manifest."""

# The server says it in its own language, with the name of the file in quotes.
_QUOTES = "\"'«»„“”‹›「」"
_NAME = rf"[^{_QUOTES}]*/\d+(?:_(?:fsm|vm|init))?(?:\.\d+)?"
_QUOTED = re.compile(rf"[{_QUOTES}]\s?({_NAME})\s?[{_QUOTES}]")


def damaged_files(
    streamed: Streamed, parent: Parent | None, files: Mapping[str, File]
) -> dict[str, str]:
    """By path what was said of each. What came with the parent the server does not read again.

    Raises BackupError where the server names no file of the backup.
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
    """What needs a damaged file, with its path: the whole database, if it is no table's own.

    Raises BackupError where every database needs it.
    """
    damaged: dict[ObjectId, str] = {}
    for path, said in files.items():
        relation = relation_of(path)
        if relation is None:
            raise _damaged(said)
        owners = [id for id, mapped in objects.items() if relation in mapped.relations]
        database = database_of(relation)
        everything = (id for id, mapped in objects.items() if mapped.database == database)
        damaged.update(dict.fromkeys(owners or everything, path))
    return damaged


def sentences(files: Mapping[str, str], damaged: Mapping[ObjectId, str]) -> Iterator[str]:
    """What a person should read of each file."""
    for path, said in files.items():
        owners = [str(id) for id, needed in damaged.items() if needed == path]
        more = f" and {len(owners) - 1} more" if len(owners) > 1 else ""
        of = f", a file of {owners[0]}{more}," if owners else ""
        yield f"{path}{of} has pages whose checksums are wrong ({said})"


def _path(name: str, tablespaces: Mapping[int, str]) -> str:
    """Of the file in the data directory that the server calls by this name."""
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
