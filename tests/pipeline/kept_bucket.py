"""A bucket of each release is kept in `kept/`, so that every later version shows that it reads it.

`KEEP_BUCKET=tests/pipeline/kept/1.2.0.tar pytest --all tests/pipeline/test_kept_buckets.py` keeps
that of a new release.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.pipeline.conftest import Host, store
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.s3.store import Store

FOLDER = Path(__file__).with_name("kept")
PREFIX = "kept"
HITS = "clickhouse/table/default/kept/hits"
KEYS = {"manifest_key": "1a" * 32, "encryption_key": "2b" * 32}
_FACTS, _RECORDS, _KEYS = "facts.json", "records.ndjson", "keys/"
_ORDERS = "select count(*), md5(string_agg(id || note, ',' order by id)) from orders"
_HITS = "SELECT count(), sum(id) FROM kept.hits"


def digests(host: Host, clickhouse: ClickhouseServer) -> dict[str, Any]:
    """Return what there is of both tables now."""
    return {"orders": list(host.rows(_ORDERS)[0]), "hits": list(clickhouse.rows(_HITS)[0])}


def fill(host: Host, clickhouse: ClickhouseServer) -> None:
    """Store snapshots in every form: plain and encrypted, signed, held, proved, and the log."""
    host.configure(
        s3_prefix=PREFIX, wal="pull", compression_level=19, manifest_key=KEYS["manifest_key"]
    )
    host.execute(
        "create table orders as select n as id, 'note ' || n as note from generate_series(1, 50) n"
    )
    clickhouse.execute("CREATE DATABASE kept")
    numbers = "SELECT number AS id FROM numbers(99)"
    clickhouse.execute(f"CREATE TABLE kept.hits ENGINE MergeTree ORDER BY id AS {numbers}")
    taken = f"tb-discover -s 'postgres/*/{host.database}/*' -s {HITS}"
    host.good(f"{taken} | tb-snapshot --base | tb-upload")
    host.configure(s3_prefix=PREFIX, wal="pull", compression_level=19, **KEYS)
    host.execute("insert into orders values (51, 'fifty-one')")
    clickhouse.execute("INSERT INTO kept.hits VALUES (1000)")
    host.good(f"{taken} | tb-snapshot --incremental | tb-upload")
    host.good(f"tb-verify {host.table('orders')}")
    host.good(f"tb-keep --reason 'the first one' {HITS}")
    before = digests(host, clickhouse)
    moment = str(host.rows("select clock_timestamp()")[0][0])
    host.execute("delete from orders where id < 40")
    host.good("tb-wal pull")
    facts = {"moment": moment, "database": host.database, **before}
    (host.folder / _FACTS).write_text(json.dumps(facts))
    (host.folder / _RECORDS).write_text(host.good("tb-discover --stored").stdout)


def pack(host: Host, path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in (_FACTS, _RECORDS):
            archive.add(host.folder / name, name)
        kept = store(host, PREFIX)
        for key in sorted(kept.all_names("")):
            body = kept.read(key)
            member = tarfile.TarInfo(_KEYS + key)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))


def unpack(path: Path, into: Store) -> tuple[Mapping[str, Any], str]:
    """Write the keys of a kept bucket; return its facts, and records of that version."""
    found = dict(_members(path))
    for name, body in found.items():
        if name.startswith(_KEYS):
            into.write(name.removeprefix(_KEYS), body)
    return json.loads(found[_FACTS]), found[_RECORDS].decode()


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            yield member.name, b"" if file is None else file.read()
