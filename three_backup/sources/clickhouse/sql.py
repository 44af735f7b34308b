"""Builds statements in ClickHouse's SQL, each on one line; quotes names and texts. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from three_backup.model.objects import ObjectId
from three_backup.model.storage import Storage
from three_backup.sources.clickhouse.bucket_url import bucket_url

_ESCAPES = {
    "\\": "\\\\",
    "'": "\\'",
    "`": "\\`",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\0": "\\0",
}
_OF_ANY_SIZE = " SETTINGS max_table_size_to_drop = 0"
"""Lifts a limit against slips of administrators: what we drop is ours, or was replaced."""

Settings = Mapping[str, str | int]
"""Settings of a statement by name; texts are written as literals."""


@dataclass(frozen=True, slots=True)
class S3Folder:
    """A folder in S3 as a statement names it."""

    shown: str  # without credentials, as ClickHouse keeps it in the backups that build on it
    secret: str  # with credentials


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or dictionary of a database."""

    database: str
    name: str

    def __str__(self) -> str:
        return f"{identifier(self.database)}.{identifier(self.name)}"


def identifier(name: str) -> str:
    return f"`{_escaped(name)}`"


def literal(text: str) -> str:
    return f"'{_escaped(text)}'"


def relation(object_id: ObjectId) -> Relation:
    return Relation(object_id.level2, object_id.level3)


def place(storage: Storage, key: str, collection: str | None = None) -> S3Folder:
    """Return the place of a key of the storage.

    collection: a named collection of the server whose url is that of the bucket.
    """
    full = f"{storage.prefix}/{key}" if storage.prefix else key
    if collection is not None:
        text = f"S3({collection}, {literal(full)})"
        return S3Folder(text, text)
    url = literal(f"{bucket_url(storage)}/{full}")
    if storage.access_key is None or storage.secret_key is None:
        return S3Folder(f"S3({url})", f"S3({url})")
    keys = f"{literal(storage.access_key)}, {literal(storage.secret_key)}"
    return S3Folder(f"S3({url})", f"S3({url}, {keys})")


def on_cluster(cluster: str | None) -> str:
    return f" ON CLUSTER {literal(cluster)}" if cluster else ""


def backup(
    of: Relation, to: S3Folder, settings: Settings, base: S3Folder | None, everywhere: str
) -> str:
    """Return a BACKUP statement. everywhere: what on_cluster() gave."""
    clauses = [f"base_backup = {base.secret}"] if base else []
    return (
        f"BACKUP TABLE {of}{everywhere} TO {to.secret} "
        f"SETTINGS {', '.join([*clauses, *_assignments(settings)])} ASYNC"
    )


def restore(
    of: Relation,
    under: Relation,
    out_of: S3Folder,
    settings: Settings,
    base: S3Folder | None,
    everywhere: str,
) -> str:
    """Return a RESTORE statement, which the server answers when it is done.

    base: where the parent of out_of lies now, if it has one.
    """
    clauses = [f"base_backup = {base.secret}"] if base else []
    renamed = "" if under == of else f" AS {under}"
    return (
        f"RESTORE TABLE {of}{renamed}{everywhere} FROM {out_of.secret} "
        f"SETTINGS {', '.join([*clauses, *_assignments(settings)])}"
    )


def rename(pairs: Sequence[tuple[Relation, Relation]], everywhere: str) -> str:
    return f"RENAME TABLE {', '.join(f'{old} TO {new}' for old, new in pairs)}{everywhere}"


def exchange(one: Relation, other: Relation, everywhere: str) -> str:
    return f"EXCHANGE TABLES {one} AND {other}{everywhere}"


def drop(what: Relation, everywhere: str, *, dictionary: bool) -> str:
    """Return a DROP statement. It must call a dictionary DICTIONARY, all else TABLE."""
    kind = "DICTIONARY" if dictionary else "TABLE"
    return f"DROP {kind} IF EXISTS {what}{everywhere} SYNC{_OF_ANY_SIZE}"


def drop_database(name: str) -> str:
    return f"DROP DATABASE IF EXISTS {identifier(name)} SYNC{_OF_ANY_SIZE}"


def _assignments(settings: Settings) -> list[str]:
    return [
        f"{name} = {value if isinstance(value, int) else literal(value)}"
        for name, value in settings.items()
    ]


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
