"""Rows come out of a snapshot as the server wrote them then, and no live server is touched."""

import csv
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.conftest import Host
from tests.postgres import zoo

_NO_SERVER = {"PGHOST": "127.0.0.1", "PGPORT": "1"}
"""What is restored needs no live server, and what is looked at neither."""

_FILLED = [name for name in zoo.TABLES if name not in ("young", "nothing")]


class Zoo(Host):
    """A host whose database has every kind of table, stored as a chain of three."""

    def written(self, name: str, options: str = "FORMAT csv, HEADER", only: str = "ONLY ") -> str:
        """Return what the live server writes of a relation."""
        parts: list[bytes] = []
        with self.connect(self.database) as connection:
            connection.execute("SET datestyle = ISO; SET timezone = 'UTC'; SET lc_monetary = 'C'")
            query = f"COPY (SELECT * FROM {only}app.{name}) TO STDOUT ({options})".encode()
            with connection.cursor() as cursor, cursor.copy(query) as given:
                parts += [bytes(piece) for piece in given]
        return b"".join(parts).decode()

    def cat(self, name: str, options: str = "", kind: str = "table") -> str:
        object_id = f"postgres/{kind}/{self.database}/app/{name}"
        outcome = self.sh(f"tb-cat {options} '{object_id}'", environ=_NO_SERVER)
        assert (outcome.status, outcome.stderr) == (0, ""), outcome.stderr
        return outcome.stdout


@pytest.fixture(scope="module")
def stored(host_of_module: Host, server_folder: Path) -> Iterator[Zoo]:
    host = host_of_module
    host.__class__ = Zoo
    assert isinstance(host, Zoo)
    folder = server_folder / "cat-space"
    folder.mkdir(mode=0o711)
    os.chown(folder, *_owner(host))
    host.execute(f"create tablespace {zoo.TABLESPACE} location '{folder}'", "postgres")
    for statement in zoo.STATEMENTS:
        host.execute(statement)
    host.good("tb-run")
    for changes in (zoo.CHANGES, zoo.MORE_CHANGES):
        for statement in changes:
            host.execute(statement)
        host.good("tb-discover | tb-snapshot --incremental | tb-upload")
    host.wipe()
    yield host
    host.execute(f"drop database {host.database} with (force)", "postgres")
    host.execute(f"create database {host.database}", "postgres")
    host.execute(f"drop tablespace {zoo.TABLESPACE}", "postgres")


def _owner(host: Host) -> tuple[int, int]:
    found = host.server.pgdata.stat()
    return found.st_uid, found.st_gid


csv.field_size_limit(1 << 30)


def _sorted(text: str) -> list[list[str]]:
    return sorted(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("name", _FILLED)
def test_a_table_is_written_as_the_server_would(stored: Zoo, name: str) -> None:
    if name == "fleeting":  # an unlogged table is empty in every snapshot
        assert stored.cat(name) == "id\n"
        return
    partitioned = name in ("events", "events_2026")
    expected = stored.written(name, only="" if partitioned else "ONLY ")
    assert _sorted(stored.cat(name)) == _sorted(expected)


@pytest.mark.parametrize("name", ["happy", "happier", "counted"])
def test_a_view_is_written_as_the_server_would(stored: Zoo, name: str) -> None:
    expected = stored.written(name, only="")
    assert _sorted(stored.cat(name, kind="view")) == _sorted(expected)


def test_json_lines_make_the_same_rows_again(stored: Zoo) -> None:
    assert len(stored.cat("rich", "--format json").splitlines()) == 99
    columns = "id,number,mood,moods,size,pair,span,name,payload,binary_payload,at,lasts,document"
    lines = stored.cat("rich", f"--format json --columns {columns},numbers").splitlines()
    assert all(json.loads(line) for line in lines)
    with stored.connect(stored.database) as connection:
        connection.execute("create temp table lines (line json)")
        with connection.cursor() as cursor, cursor.copy("COPY lines FROM STDIN") as taken:
            for line in lines:
                taken.write_row((line,))
        again = (
            f"SELECT {columns}, numbers "
            "FROM (SELECT (json_populate_record(null::app.rich, line)).* FROM lines) AS r"
        )
        then = f"SELECT {columns}, numbers FROM app.rich"
        for one, other in ((again, then), (then, again)):
            query = f"SELECT count(*) FROM ({one} EXCEPT ALL {other}) AS x"
            assert connection.execute(query.encode()).fetchone() == (0,)


def test_sql_loads_the_same_rows_again(stored: Zoo) -> None:
    text = stored.cat("elsewhere", "--format sql")
    head, *rows, end = text.splitlines(keepends=True)
    assert end == "\\.\n"
    with stored.connect(stored.database) as connection:
        connection.execute("create temp table elsewhere (like app.elsewhere)")
        statement = head.replace('"app".', "pg_temp.").rstrip(";\n").encode()
        with connection.cursor() as cursor, cursor.copy(statement) as taken:
            taken.write("".join(rows))
        query = "SELECT count(*) FROM (TABLE app.elsewhere EXCEPT ALL TABLE pg_temp.elsewhere) x"
        assert connection.execute(query).fetchone() == (0,)
    assert len(rows) == 200


def test_columns_conditions_and_limits_choose(stored: Zoo) -> None:
    chosen = stored.cat("rich", "--columns id,mood --where \"mood = 'happy' and id < 9\"")
    ids = stored.rows("select id from app.rich where mood = 'happy' and id < 9")
    assert _sorted(chosen) == _sorted(
        "".join(f"{number},happy\n" for (number,) in ids) + "id,mood\n"
    )
    assert len(stored.cat("rich", "--columns id --limit 3").splitlines()) == 4


def test_an_older_snapshot_has_its_own_rows(stored: Zoo) -> None:
    listed = stored.good("tb-list --stored --snapshots --json -s postgres").records
    base = listed[0]["snapshots"][0]["id"]
    assert len(stored.cat("rich", f"--snapshot {base}").splitlines()) > len(
        stored.cat("rich").splitlines()
    )
    outcome = stored.sh(f"tb-cat --snapshot {base} {stored.table('young', 'app')}")
    assert outcome.status == 1
    assert "young" in outcome.stderr


def test_a_definition_costs_the_catalogs_alone(stored: Zoo) -> None:
    """What is read is drawn: the bar ends with it."""
    read = {}
    for options in ("", "--definition"):
        command = f"tb-cat --progress always {options} {stored.table('rich', 'app')} > /dev/null"
        bars = stored.sh(command, environ=_NO_SERVER).stderr
        read[options] = max(float(size) for size in re.findall(r"([0-9.]+)M", bars))
    assert 0 < read["--definition"] < read[""]


def test_the_definition_makes_the_table(stored: Zoo) -> None:
    text = stored.cat("orders", "--definition")
    assert "CREATE TABLE app.orders" in text
    assert "FOREIGN KEY (customer) REFERENCES app.customer" in text
    assert "CREATE VIEW app.happy" in stored.cat("happy", "--definition", kind="view")


def test_several_objects_make_a_tar_or_files(stored: Zoo) -> None:
    pattern = f"'postgres/table/{stored.database}/app/e*'"
    stored.good(f"tb-cat {pattern} > rows.tar")
    with tarfile.open(stored.folder / "rows.tar") as tar:
        names = {Path(name).name for name in tar.getnames()}
        member = tar.extractfile(f"{stored.database}.app.elsewhere.csv")
        assert member is not None
        assert _sorted(member.read().decode()) == _sorted(stored.written("elsewhere"))
    stored.good(f"tb-cat --dir rows {pattern}")
    assert {path.name for path in (stored.folder / "rows").iterdir()} == names
    assert f"{stored.database}.app.events_2025.csv" in names


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--where 'nobody = 1'", "correct --where and --columns"),
        ("--where '1 = 1) --'", "correct --where and --columns"),
        ("--columns nobody", "correct --where and --columns"),
        ("--where 'pg_reload_conf()'", "permission denied"),
        ("--where \"pg_read_file('/etc/passwd') <> ''\"", "permission denied"),
    ],
)
def test_what_the_reader_may_not_do_is_said(stored: Zoo, options: str, sentence: str) -> None:
    outcome = stored.sh(f"tb-cat {options} {stored.table('rich', 'app')}")
    assert outcome.status == 1
    assert sentence in outcome.stderr
    assert outcome.stdout == ""


def test_a_reader_that_goes_ends_it_quietly_and_nothing_is_left(stored: Zoo) -> None:
    line = f"tb-cat {stored.table('rich', 'app')} | head -1"
    outcome = stored.sh(line)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith("id,number,ticket")
    assert list((stored.local_dir / "scratch").glob("*")) == []


_HOSTILE = """
create role three_backup_reader superuser login;
create role mallory login;
create schema lair authorization mallory;
set role mallory;
create function lair.strike() returns int language plpgsql as $$
begin
  execute 'copy (select 1) to program ''touch {}''';
  return 1;
end $$;
create view lair.trap as select lair.strike() as struck;
create view lair.escape as select set_config('role', current_user, false) as was, lair.strike();
reset role;
"""


def test_code_of_an_owner_gets_no_rights_from_who_looks(host: Host) -> None:
    mark = host.folder / "struck"
    host.execute(_HOSTILE.format(mark))
    try:
        host.good("tb-run")
        for name in ("trap", "escape"):
            outcome = host.sh(f"tb-cat postgres/view/{host.database}/lair/{name}")
            assert outcome.status == 1
            assert "permission denied" in outcome.stderr
        assert not mark.exists()
    finally:
        host.execute("drop schema lair cascade; drop role mallory, three_backup_reader")


def test_rows_of_a_moment_and_what_was_dropped(host: Host) -> None:
    host.configure(wal="pull")
    host.execute("create table t as select i from generate_series(1, 3) i")
    host.execute("create view v as select i from t")
    host.good("tb-run")
    host.execute("insert into t values (4)")
    host.execute("drop table t cascade")
    host.good("tb-wal pull")
    host.wipe()
    assert host.good(f"tb-cat --before-drop {host.table('t')}").stdout.split() == list("i1234")
    assert host.good(f"tb-cat {host.table('t')}").stdout.split() == list("i123")
    view = f"postgres/view/{host.database}/public/v"
    assert "FROM public.t" in host.good(f"tb-cat --before-drop --definition {view}").stdout


def test_while_s3_is_away_what_lies_here_is_shown(host: Host) -> None:
    host.execute("create table t as select 7 as i")
    host.good("tb-run")
    host.configure(s3_endpoint="http://127.0.0.1:9", s3_timeout="1s")
    outcome = host.good(f"tb-cat {host.table('t')}")
    assert outcome.stdout == "i\n7\n"
    host.wipe()
    assert host.sh(f"tb-cat {host.table('t')}").status in (1, 69)


def test_a_table_has_no_files(stored: Zoo) -> None:
    for option in ("--path etc/hosts", "--list"):
        outcome = stored.sh(f"tb-cat {option} {stored.table('rich', 'app')}")
        assert (outcome.status, outcome.stdout) == (1, "")
        assert "it has rows, not files; leave out --path and --list" in outcome.stderr
