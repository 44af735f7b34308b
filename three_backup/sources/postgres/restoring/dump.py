"""Dumps definitions in the scratch server by pg_dump, as SQL for the target's transaction."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from tempfile import gettempdir

from three_backup.command import run
from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.scratch.binaries import worker
from three_backup.sources.postgres.scratch.folder import scratch_folder
from three_backup.sources.postgres.scratch.server import ScratchServer
from three_backup.sources.postgres.spelling import codec_of

# Number, class, oid, kind and schema of an entry in pg_restore's list.
_ENTRY = re.compile(r"(\d+); (\d+) (\d+) ([A-Z ]+) (\S+) ")
_DEPENDS = ";\tdepends on: "
_FENCE = re.compile(rb"^\\restrict (\w+)\n", re.MULTILINE)
# The session of the target has what fits our names.
_ENCODING = re.compile(rb"^SET client_encoding = .*\n", re.MULTILINE)
_NAMED = b"\n-- Name: "  # is above each statement
_DUMP = "definitions.dump"
_LIST = "definitions.list"

Author = str | None
"""The role that statements run as; None: whoever restores."""


@dataclass(frozen=True, slots=True)
class Step:
    """SQL that one author runs."""

    author: Author
    script: bytes
    entries: tuple[str, ...]  # of pg_restore's list
    section: str  # of pg_dump

    def __str__(self) -> str:
        """Name what the first entry makes: its kind and name."""
        entry = _ENTRY.match(self.entries[0])
        if entry is None:
            return self.entries[0]
        name, _, _ = self.entries[0][entry.end() :].rpartition(" ")  # its owner follows
        return f"{entry[4].lower()} {name}"


@dataclass(frozen=True, slots=True)
class Definitions:
    """Steps to take before the rows are loaded, and after."""

    before: list[Step]
    after: list[Step]
    _server: ScratchServer
    _codec: str
    _dump: bytes

    def apart(self, step: Step) -> Iterator[Step]:
        """Yield the entries of a step, each as a step of its own."""
        with scratch_folder(Path(gettempdir()), None) as folder:
            (folder / _DUMP).write_bytes(self._dump)
            dumped = _Dumped(self._server.binaries["pg_restore"], folder / _DUMP, self._codec)
            for entry in step.entries:
                yield from _steps(dumped, step.section, [(entry, step.author)])


def dump_definitions(
    server: ScratchServer,
    database: str,
    schemas: Mapping[str, Author],
    others: Mapping[tuple[int, int], Author],
) -> Definitions:
    """Dump all that is in the schemas, and the others, in an order that works.

    Owners and grants are left out, and the schemas themselves, whose names are our own. others: by
    class and oid; their comments come with them.
    """
    with scratch_folder(Path(gettempdir()), None) as folder:
        patterns = [] if others else [f"--schema={schema}" for schema in schemas]
        dumped = _dump(server, folder, database, patterns)
        listed = run(worker([dumped.pg_restore, "--list", "--verbose", str(dumped.dump)]))
        chosen = list(_chosen(listed.splitlines(), schemas, others))
        return Definitions(
            list(_steps(dumped, "pre-data", chosen)),
            list(_steps(dumped, "post-data", chosen)),
            server,
            dumped.codec,
            dumped.dump.read_bytes(),
        )


def _chosen(
    lines: Iterable[str],
    schemas: Mapping[str, Author],
    others: Mapping[tuple[int, int], Author],
) -> Iterator[tuple[str, Author]]:
    """Yield the wanted entries of pg_restore's list, with their authors."""
    authors = dict[str, Author]()  # by the numbers of the entries that are wanted
    comment = ""  # the entry that was read last, if it is a comment on something of the others
    for line in lines:
        if line.startswith(_DEPENDS):
            number = line.removeprefix(_DEPENDS)
            if comment and number in authors:
                yield comment, authors[number]
            continue
        entry = _ENTRY.match(line)
        comment = ""
        if entry is None:
            continue
        number, address = entry[1], (int(entry[2]), int(entry[3]))
        if entry[5] in schemas:
            yield line, schemas[entry[5]]
        elif address in others:
            authors[number] = others[address]
            yield line, authors[number]
        elif entry[4].startswith("COMMENT"):
            comment = line


def _steps(
    dumped: "_Dumped", section: str, chosen: Sequence[tuple[str, Author]]
) -> Iterator[Step]:
    for author, group in groupby(chosen, key=itemgetter(1)):
        entries = tuple(line for line, _ in group)
        script = _script(dumped, section, entries)
        if _NAMED in script:
            yield Step(author, script, entries, section)


@dataclass(frozen=True, slots=True)
class _Dumped:
    pg_restore: str
    dump: Path
    codec: str  # of all names in it


def _dump(server: ScratchServer, folder: Path, database: str, patterns: Sequence[str]) -> _Dumped:
    """Dump into a folder of our own: that of the server may be another user's."""
    dump = folder / _DUMP
    with server.connect(database) as scratch:
        ((encoding,),) = scratch.execute("SHOW client_encoding")
        codec = codec_of(scratch)
    run(
        server.program(
            "pg_dump",
            "--format=custom",
            "--schema-only",
            f"--encoding={encoding}",
            "--no-publications",
            "--no-subscriptions",
            "--no-security-labels",
            f"--file={dump}",
            *patterns,
            database=database,
        )
    )
    return _Dumped(server.binaries["pg_restore"], dump, codec)


def _script(dumped: _Dumped, section: str, entries: Sequence[str]) -> bytes:
    """Return the SQL of the entries that are in this section."""
    wanted = dumped.dump.with_name(_LIST)
    wanted.write_text("\n".join(entries), *AS_BYTES)
    options = ["--file=-", "--no-tablespaces", "--no-owner", "--no-acl", f"--section={section}"]
    argv = [dumped.pg_restore, *options, f"--use-list={wanted}", str(dumped.dump)]
    text = run(worker(argv)).encode(*AS_BYTES).decode(dumped.codec, AS_BYTES[1])
    return _without_fence(_ENCODING.sub(b"", text.encode(*AS_BYTES), count=1))


def _without_fence(script: bytes) -> bytes:
    """Remove the lines that keep psql from running meta-commands: no psql runs this script."""
    fence = _FENCE.search(script)
    if fence is None:
        return script
    lines = b"\\restrict %b\n" % fence[1], b"\\unrestrict %b\n" % fence[1]
    return script.replace(lines[0], b"").replace(lines[1], b"")
