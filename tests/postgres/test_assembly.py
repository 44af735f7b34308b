"""What a restore puts together is what pg_combinebackup makes of the same chain, byte by byte."""

import os
import random
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import crc32c
import pytest

from tests.lab.sample import Sample
from three_backup.catalog.files import Files
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.sources.postgres.chain.layers import LayeredFile
from three_backup.sources.postgres.chain.links import is_doubtful
from three_backup.sources.postgres.increment import most_header
from three_backup.sources.postgres.index import File, Form, Tier

from .rebuilding import rebuild
from .taking import Taking, combined, index_of, laid_out, run, run_program

BLOCK = 8192
PATH = "base/5/99999"
OURS = {"backup_manifest", "postgresql.auto.conf", "recovery.signal", "pg_tblspc"}
"""What a restored cluster has of its own."""

_CHANGES = (
    "UPDATE busy SET t = repeat('b', 500) WHERE i % 97 = 0",
    "DELETE FROM shrunk WHERE i > 300",
    "VACUUM shrunk",
    "TRUNCATE emptied",
    "INSERT INTO emptied SELECT i, 'again' FROM generate_series(1, 50) i",
    "INSERT INTO grown SELECT i, repeat('g', 300) FROM generate_series(3001, 8000) i",
    "CREATE TABLE late AS SELECT i, repeat('l', 200) AS t FROM generate_series(1, 3000) i",
    "CREATE INDEX ON busy (t)",
    "VACUUM FULL shrunk",
    "CREATE UNLOGGED TABLE passing AS SELECT 1 AS i",
    "DELETE FROM grown WHERE i < 7000",
    "VACUUM grown",
    "UPDATE grown SET t = 'x' WHERE i = 7500",
)


@pytest.mark.parametrize("links", [1, 2, 5])
def test_a_whole_cluster(
    live: PostgresServer, database: str, taking: Taking, parent: Path, tmp_path: Path, links: int
) -> None:
    chain = _chain(live, database, taking, links)
    theirs = combined(chain, live, tmp_path / "laid out")
    rebuild(chain, parent)
    left_to_the_server = {
        path for path, file in index_of(chain[-1]).files.items() if is_doubtful(file)
    }
    expected = {
        path: body for path, body in _contents(theirs).items() if path not in left_to_the_server
    }
    found = _contents(parent / "pgdata")
    assert expected.keys() <= found.keys()
    assert found.keys() - expected.keys() <= {"postgresql.conf", "pg_hba.conf", "pg_ident.conf"}
    assert [path for path, body in expected.items() if found[path] != body] == []


def test_a_flipped_byte_is_found_or_was_hidden(
    live: PostgresServer,
    database: str,
    taking: Taking,
    parent: Path,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    chain = _chain(live, database, taking, 3)
    expected = _contents(combined(chain, live, tmp_path / "laid out"))
    chance = random.Random(Sample.of(pytestconfig).seed)
    refused = set()
    for link in chain:
        for stored in link.manifest.files:
            path = taking.folder / str(link.manifest.snapshot) / stored.name
            whole = path.read_bytes()
            spoilt = bytearray(whole)
            spoilt[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            path.write_bytes(spoilt)
            try:
                rebuild(chain, parent)
            except BackupError:
                assert not (parent / "pgdata").exists()
                refused.add(stored.name)
            else:
                found = _contents(parent / "pgdata")
                assert all(found.get(name, body) == body for name, body in expected.items())
                shutil.rmtree(parent / "pgdata")
            path.write_bytes(whole)
    assert {"index.zst", "core.pack", "backup_manifest.zst", "configuration.zst"} <= refused


def test_any_layers_of_a_file(
    live: PostgresServer, taking: Taking, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Increments as no server would make them: any blocks in any order, any truncation."""
    chance = random.Random(Sample.of(pytestconfig).seed)
    chain = [taking.take()]
    for _ in range(3):
        chain.append(taking.take(chain[-1]))
    folders = laid_out(chain, tmp_path / "laid out")
    cases = [_layers(chance, len(chain)) for _ in range(200)]
    for number, layers in enumerate(cases):
        for folder, (form, body) in zip(folders[-len(layers) :], layers, strict=True):
            prefix = "" if form is Form.FULL else "INCREMENTAL."
            (folder / f"base/5/{prefix}{99000 + number}").write_bytes(body)
    output = tmp_path / "combined"
    run_program(live, "pg_combinebackup", "--no-manifest", "-o", output, *folders)
    for number, layers in enumerate(cases):
        expected = (output / f"base/5/{99000 + number}").read_bytes()
        assert _put_together(layers, chance) == expected, number


def test_a_layer_with_a_wrong_byte_is_refused() -> None:
    layers = [_full(3), _increment([1], 3), _increment([0, 2], 3)]
    stored = _stored(layers)
    for number, (_, body) in enumerate(layers):
        for position in {0, 5, 13, len(body) - 1} - ({5} if number == 0 else set()):
            spoilt = bytearray(body)
            spoilt[position] ^= 1
            changed = [*layers[:number], (layers[number][0], bytes(spoilt)), *layers[number + 1 :]]
            with pytest.raises(BackupError, match="is damaged"):
                _fed(stored, [body for _, body in changed])


def test_hidden_bytes_need_not_be_read() -> None:
    layers = [_full(4), _increment([1, 2], 4), _increment([0, 1, 2], 4)]
    base, middle, newest = _stored(layers)
    layered = LayeredFile(newest)
    for file, (_, body) in ((newest, layers[2]), (middle, layers[1])):
        assert layered.shows(file, BLOCK, BLOCK), "its header has not come"
        list(layered.add(file, 0, memoryview(body)[:BLOCK]))
    assert layered.shows(newest, BLOCK, 3 * BLOCK)
    assert not layered.shows(middle, BLOCK, 2 * BLOCK)
    assert not layered.shows(base, 0, 3 * BLOCK)
    assert layered.shows(base, 3 * BLOCK - 1, 2)


Layer = tuple[Form, bytes]


def _chain(server: PostgresServer, database: str, taking: Taking, links: int) -> list[Files]:
    rows = "SELECT i, repeat(md5(i::text), 9) FROM generate_series(1, 3000) i"
    for name in ("busy", "still", "shrunk", "emptied", "grown"):
        run(server, database, f"CREATE TABLE {name} (i int PRIMARY KEY, t text)")
        run(server, database, f"INSERT INTO {name} {rows}")
    run(server, database, "VACUUM")
    chain = [taking.take()]
    each = -(-len(_CHANGES) // max(1, links - 1))
    for number in range(1, links):
        run(server, database, *_CHANGES[(number - 1) * each : number * each])
        chain.append(taking.take(chain[-1]))
    return chain


def _layers(chance: random.Random, most: int) -> list[Layer]:
    """Return a whole file and increments of it, the oldest first."""
    layers = [_full(chance.randrange(12))]
    for _ in range(chance.randrange(most)):
        if chance.random() < 0.1:
            layers.append(_full(chance.randrange(12)))
        else:
            least = chance.randrange(14)
            blocks = chance.sample(range(14), chance.randrange(8))
            layers.append(_increment(blocks, least))
    return layers


def _full(blocks: int) -> Layer:
    return Form.FULL, os.urandom(blocks * BLOCK)


def _increment(blocks: Sequence[int], least: int) -> Layer:
    header = struct.pack(f"<III{len(blocks)}I", 0xD3AE1F0D, len(blocks), least, *blocks)
    if not blocks:
        return Form.UNCHANGED, header
    return Form.BLOCKS, header.ljust(BLOCK, b"\0") + os.urandom(len(blocks) * BLOCK)


def _stored(layers: Sequence[Layer]) -> list[File]:
    return [_file(form, body) for form, body in layers]


def _file(form: Form, body: bytes) -> File:
    blocks = None
    if form is not Form.FULL:
        _, count, least = struct.unpack_from("<III", body)
        blocks = max(least, *(n + 1 for n in struct.unpack_from(f"<{count}I", body, 12)), 0)
    return File(PATH, form, Tier.S3, len(body), crc32c.crc32c(body), group=0, blocks=blocks)


def _put_together(layers: Sequence[Layer], chance: random.Random) -> bytes:
    """Feed the layers in pieces of any size, and leave out what is said to be hidden."""
    files, bodies = _stored(layers), [body for _, body in layers]
    return _fed(files, bodies, lambda length: _cuts(chance, length), hides=True)


def _fed(
    files: Sequence[File],
    bodies: Sequence[bytes],
    cuts: Callable[[int], Iterable[tuple[int, int]]] = lambda length: [(0, length)],
    *,
    hides: bool = False,
) -> bytes:
    layered = LayeredFile(files[-1])
    result = bytearray(layered.length)
    newest_whole = max(number for number, file in enumerate(files) if file.form is Form.FULL)
    pieces = [
        (file, body, start, end)
        for file, body in reversed(list(zip(files, bodies, strict=True))[newest_whole:])
        for start, end in (cuts(len(body)) if file.form is not Form.UNCHANGED else ())
    ]
    headers = [piece for piece in pieces if _has_header(piece[0], piece[2])]
    rest = [piece for piece in pieces if not _has_header(piece[0], piece[2])]
    for file, body, start, end in (*headers, *rest):
        if not hides or layered.shows(file, start, end - start):
            for offset, part in layered.add(file, start, memoryview(body)[start:end]):
                result[offset : offset + len(part)] = part
    assert layered.checksum in (None, crc32c.crc32c(result))
    return bytes(result)


def _has_header(file: File, start: int) -> bool:
    return file.form is Form.BLOCKS and start < most_header(file.size)


def _cuts(chance: random.Random, length: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start < length:
        end = min(length, start + chance.choice((1, 11, 12, 100, BLOCK, 3 * BLOCK + 1)) + 1)
        yield start, end
        start = end


def _contents(pgdata: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(pgdata)): path.read_bytes()
        for path in pgdata.rglob("*")
        if path.is_file() and path.relative_to(pgdata).parts[0] not in OURS
    }
