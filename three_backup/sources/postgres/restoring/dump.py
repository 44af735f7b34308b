"""Dumps definitions in the scratch server by pg_dump, as SQL for the target's transaction."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from three_backup.command import Program, run
from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.scratch.folder import scratch_folder
from three_backup.sources.postgres.scratch.server import ScratchServer
from three_backup.sources.postgres.spelling import codec_of

_ENTRY = re.compile(r"\d+; (\d+) (\d+) ")
_FENCE = re.compile(rb"^\\restrict (\w+)\n", re.MULTILINE)
# The session of the target has what fits our names.
_ENCODING = re.compile(rb"^SET client_encoding = .*\n", re.MULTILINE)
_DUMP = "definitions.dump"
_LIST = "definitions.list"


@dataclass(frozen=True, slots=True)
class Definitions:
    """SQL to run before the rows are loaded, and after."""

    before: bytes
    after: bytes


def dump_schemas(server: ScratchServer, database: str, schemas: Sequence[str]) -> Definitions:
    """Dump all that is in the schemas, without owners and grants, and without the schemas."""
    with scratch_folder(Path(gettempdir()), None) as folder:
        wanted = [f"--schema={schema}" for schema in schemas]
        dumped = _dump(server, folder, database, wanted)
        before = _script(dumped, ["--section=pre-data"])
        for schema in schemas:  # their names are ours: nothing else in there is spelt so
            before = before.replace(f"CREATE SCHEMA {schema};\n".encode(), b"", 1)
        return Definitions(before, _script(dumped, ["--section=post-data"]))


def dump_objects(
    server: ScratchServer, database: str, wanted: Collection[tuple[int, int]]
) -> bytes:
    """Dump the objects, given by class and oid, in an order that works."""
    with scratch_folder(Path(gettempdir()), None) as folder:
        dumped = _dump(server, folder, database, [])
        listed = run(Program([dumped.pg_restore, "--list", str(dumped.dump)]))
        chosen = [line for line in listed.splitlines() if _key(line) in wanted]
        list_file = folder / _LIST
        list_file.write_text("\n".join(chosen), *AS_BYTES)
        return _script(dumped, [f"--use-list={list_file}"])


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


def _key(line: str) -> tuple[int, int] | None:
    """Return class and oid of a list entry; comments and grants have none of their own."""
    entry = _ENTRY.match(line)
    return None if entry is None else (int(entry[1]), int(entry[2]))


def _script(dumped: _Dumped, options: Sequence[str]) -> bytes:
    argv = [dumped.pg_restore, "--file=-", "--no-tablespaces", "--no-owner", "--no-acl"]
    script = run(Program([*argv, *options, str(dumped.dump)]))
    text = script.encode(*AS_BYTES).decode(dumped.codec, AS_BYTES[1])
    return _without_fence(_ENCODING.sub(b"", text.encode(*AS_BYTES), count=1))


def _without_fence(script: bytes) -> bytes:
    """Remove the lines that keep psql from running meta-commands: no psql runs this script."""
    fence = _FENCE.search(script)
    if fence is None:
        return script
    lines = b"\\restrict %b\n" % fence[1], b"\\unrestrict %b\n" % fence[1]
    return script.replace(lines[0], b"").replace(lines[1], b"")
