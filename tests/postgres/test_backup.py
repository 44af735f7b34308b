"""Snapshots of live clusters hold what the server sent, each file once and in its place."""

import hashlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from three_backup.catalog.files import Files
from three_backup.demo.servers import PostgresServer
from three_backup.errors import BackupError
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Kind
from three_backup.sources.base import ParentUnusableError
from three_backup.sources.lacking import why_lacking
from three_backup.sources.postgres.index import (
    BACKUP_MANIFEST,
    CONFIGURATION,
    INDEX,
    Form,
    Tier,
)
from three_backup.sources.postgres.mapping import FileMap, read_map
from three_backup.sources.postgres.taking import backup
from three_backup.sources.postgres.taking.tablespaces import live_tablespaces

from .taking import DISABLED, LOCAL, Taking, ask, combined, contents, index_of, run, table

_USERS = (
    "CREATE TABLE users (id int PRIMARY KEY, note text)",
    "INSERT INTO users SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 20000) n",
    "VACUUM FREEZE users",
)


def test_every_file_of_a_quiet_database_comes_back_from_the_packs(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    run(live, database, *_USERS, "CHECKPOINT")
    oid = ask(live, "postgres", f"SELECT oid FROM pg_database WHERE datname = '{database}'")

    def on_disk() -> dict[str, bytes]:
        folder = live.pgdata / "base" / oid
        found = {f"base/{oid}/{path.name}": path.read_bytes() for path in folder.iterdir()}
        found.pop(f"base/{oid}/pg_internal.init", None)
        return found

    before = on_disk()
    base = taking.take()
    after = on_disk()
    files = [file for file in index_of(base).files.values() if f"/{oid}/" in file.path]
    stored = contents(base, files)
    changed = {path for path in after if before.get(path) != after[path]}  # by autovacuum
    assert len(changed) < len(after) / 10
    assert stored.keys() ^ after.keys() <= changed
    assert all(stored[path] == after[path] for path in after.keys() - changed)
    assert {file.form for file in files} == {Form.FULL}


def test_the_manifest_says_what_was_taken_and_from_where(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    run(
        live,
        database,
        *_USERS,
        "CREATE VIEW newest AS SELECT * FROM users",
        "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM users",
    )
    base = taking.take()
    manifest = base.manifest
    kinds = {
        str(carried.id): carried.facts["kind"]
        for carried in manifest.objects
        if carried.id.level1 == database
    }
    assert kinds == {
        f"postgres/table/{database}/public/users": "table",
        f"postgres/view/{database}/public/newest": "view",
        f"postgres/view/{database}/public/counted": "materialized view",
    }
    users = next(carried for carried in manifest.objects if carried.id.level3 == "users")
    assert users.size == int(ask(live, database, "SELECT pg_total_relation_size('users')"))
    assert manifest.carrier == f"postgres/cluster/{manifest.facts['system_identifier']}"
    assert manifest.server.startswith(f"PostgreSQL {live.version}.")
    assert manifest.facts["superuser"] == "postgres"
    assert manifest.stored_size == sum(stored.size for stored in manifest.files)
    hashed = {stored.name: stored.sha256 for stored in manifest.files if stored.sha256}
    assert hashed == {
        name: hashlib.sha256(base.read(name)).hexdigest()
        for name in (INDEX, BACKUP_MANIFEST, CONFIGURATION)
    }


def test_a_run_shows_that_it_lives_while_the_server_makes_a_long_checkpoint(
    live: PostgresServer, taking: Taking
) -> None:
    asked = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    checkpointer = int(ask(live, "postgres", asked))
    beats: list[int] = []

    def go_on() -> None:
        beats.append(checkpointer)
        os.kill(checkpointer, signal.SIGCONT)

    os.kill(checkpointer, signal.SIGSTOP)
    gave_up = threading.Timer(60, go_on)
    gave_up.start()
    taking.take(idle=go_on)
    assert beats
    assert gave_up.is_alive()
    gave_up.cancel()


def test_how_much_a_base_will_move_is_known_as_it_begins(
    live: PostgresServer, taking: Taking
) -> None:
    known: list[int] = []
    base = taking.take(meanwhile=lambda: known.append(taking.expected))
    assert known == [taking.expected]
    assert 0.3 * taking.moved < taking.expected < 1.2 * taking.moved  # WAL comes on top
    taking.take(base)
    assert [taking.expected] == known


def test_an_incremental_holds_only_what_changed(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    still = ("CREATE TABLE still AS SELECT * FROM users", "VACUUM (FREEZE) still, users")
    run(live, database, *_USERS, *still)  # autovacuum would change every block of both later
    base = taking.take()
    run(live, database, "UPDATE users SET note = 'changed' WHERE id = 7")
    increment = taking.take(base)
    assert increment.manifest.snapshot.kind is Kind.INCREMENTAL
    assert increment.manifest.snapshot.parent == base.manifest.snapshot.time
    assert increment.manifest.stored_size < base.manifest.stored_size / 4
    index = index_of(increment)
    forms = {
        name: {
            index.files[path].form
            for path in index.objects[table(database, name)]
            if path in index.files
        }
        for name in ("users", "still")
    }
    assert Form.BLOCKS in forms["users"]
    assert forms["still"] <= {Form.UNCHANGED, Form.SAME, Form.FULL}
    assert index.files[_heap(live, database, "still")].form is Form.UNCHANGED


def test_a_table_made_after_the_base_arrives_whole_in_the_incremental(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    base = taking.take()
    run(live, database, *_USERS, "CHECKPOINT")
    increment = taking.take(base)
    heap = index_of(increment).files[_heap(live, database, "users")]
    assert heap.form is Form.FULL
    assert contents(increment, [heap])[heap.path] == (live.pgdata / heap.path).read_bytes()


def test_a_chain_taken_under_load_is_complete_to_postgresql_itself(
    live: PostgresServer, database: str, taking: Taking, tmp_path: Path
) -> None:
    run(live, database, *_USERS)
    _pgbench(live, database, "--initialize", "--scale=2", "--quiet")
    with _tablespace(live, database), _load(live, database):
        chain = [taking.take()]
        chain.append(taking.take(chain[-1]))
        run(live, database, "CREATE TABLE late AS SELECT * FROM users", "VACUUM FULL users")
        chain.append(taking.take(chain[-1]))
    assert combined(chain, live, tmp_path / "laid out").is_dir()
    assert list(index_of(chain[-1]).tablespaces.values()) == [str(live.folder / "elsewhere")]


def test_tables_that_change_files_and_names_during_a_backup_keep_all_their_files(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    run(
        live,
        database,
        *_USERS,
        "CREATE TABLE staging AS SELECT * FROM users",
        "CREATE TABLE rewritten AS SELECT * FROM users",
    )
    old = {name: _heap(live, database, name) for name in ("users", "staging", "rewritten")}

    def swap_rewrite_and_create() -> None:
        run(
            live,
            database,
            "BEGIN; ALTER TABLE users RENAME TO retired; ALTER TABLE staging RENAME TO users;"
            "ALTER TABLE retired RENAME TO staging; COMMIT",
            "VACUUM FULL rewritten",
            "CREATE TABLE made AS SELECT * FROM users",
        )

    base = taking.take(meanwhile=swap_rewrite_and_create)
    objects = index_of(base).objects
    assert {old["users"], old["staging"]} <= set(objects[table(database, "users")])
    assert {old["users"], old["staging"]} <= set(objects[table(database, "staging")])
    rewritten = {old["rewritten"], _heap(live, database, "rewritten")}
    assert rewritten <= set(objects[table(database, "rewritten")])
    carried = {carried.id for carried in base.manifest.objects}
    assert table(database, "users") in carried
    assert table(database, "made") not in carried, "nobody knows whether it is in the backup"
    lack = why_lacking(base.manifest, table(database, "made"))
    assert lack is not None
    assert lack.message.endswith("does not hold it: it was created or renamed meanwhile")
    assert lack.hint == "the next snapshot has it"
    increment = taking.take(base)
    assert table(database, "made") in {carried.id for carried in increment.manifest.objects}


def test_a_table_that_stays_on_the_host_is_in_no_pack_that_is_uploaded(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    run(live, database, *_USERS, "CREATE TABLE secret AS SELECT * FROM users")
    taking.settings[table(database, "secret")] = LOCAL
    base = taking.take()
    local = [stored.name for stored in base.manifest.files if stored.local_only]
    assert local == [Tier.LOCAL.pack]
    assert _places(base, database, "secret") == {Tier.LOCAL}
    assert _places(base, database, "users") == {Tier.S3}
    assert _classes(base)[table(database, "secret")] == "local"


def test_a_disabled_table_is_in_no_pack(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    run(live, database, *_USERS, "CREATE TABLE secret AS SELECT * FROM users")
    taking.settings[table(database, "secret")] = DISABLED
    base = taking.take()
    files = [file for file in index_of(base).files.values() if file.place is Tier.NONE]
    assert files
    assert {(file.form, file.group) for file in files} == {(Form.LEFT_OUT, None)}
    assert _places(base, database, "secret") == {Tier.NONE}
    assert table(database, "secret") not in _classes(base)
    assert base.manifest.facts["disabled"] == [f"postgres/table/{database}/public/secret"]


@pytest.mark.parametrize(("settings", "place"), [(LOCAL, Tier.LOCAL), (DISABLED, Tier.NONE)])
def test_a_table_renamed_into_a_stricter_name_during_the_backup_leaves_the_uploaded_packs(
    live: PostgresServer,
    database: str,
    taking: Taking,
    settings: object,
    place: Tier,
) -> None:
    run(live, database, *_USERS, "CREATE TABLE secret_to_be AS SELECT * FROM users")
    heap = _heap(live, database, "secret_to_be")
    taking.settings[table(database, "secret")] = LOCAL if place is Tier.LOCAL else DISABLED
    base = taking.take(
        meanwhile=lambda: run(live, database, "ALTER TABLE secret_to_be RENAME TO secret")
    )
    index = index_of(base)
    assert index.files[heap].place is place
    uploaded = [group for group in index.groups if group.place is Tier.S3]
    frames = [frame for group in uploaded for frame in group.frames]
    pack = base.manifest.file(Tier.S3.pack)
    assert pack is not None
    assert pack.size == sum(frame.stored for frame in frames)
    others = [file for file in index.files.values() if file.group is not None]
    assert len(contents(base, others)) == len(others), "every frame that stayed is readable"


def test_a_table_unknown_to_both_mappings_takes_the_strictest_place_in_use(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    run(live, database, *_USERS, "CREATE TABLE secret (id int)")
    taking.settings[table(database, "secret")] = LOCAL
    with _transaction(live, database, "CREATE TABLE unseen AS SELECT * FROM users") as path:
        base = taking.take()
    assert index_of(base).files[path].place is Tier.LOCAL
    with pytest.raises(ParentUnusableError, match="was stored on this host only"):
        taking.take(base)


def test_a_table_that_was_rewritten_twice_is_promised_unless_files_are_left_out(
    live: PostgresServer, database: str, taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(live, database, *_USERS, "CREATE TABLE secret (id int)", "CREATE TABLE still (id int)")

    def read_beside_rewriting() -> FileMap:
        found = read_map()
        run(live, database, "VACUUM FULL users")
        return found

    def read_after_rewriting() -> FileMap:
        run(live, database, "VACUUM FULL users")
        return read_map()

    for settings, promised in ((None, True), (LOCAL, False), (DISABLED, False)):
        if settings is not None:
            taking.settings[table(database, "secret")] = settings
        reads = iter((read_beside_rewriting, read_after_rewriting))
        monkeypatch.setattr(backup, "read_map", lambda reads=reads: next(reads)())
        base = taking.take()
        assert (table(database, "users") in _classes(base)) is promised
        assert table(database, "still") in _classes(base)
        lack = why_lacking(base.manifest, table(database, "users"))
        assert (lack is None) is promised
        assert lack is None or "it was rewritten meanwhile" in lack.message
        assert why_lacking(base.manifest, table(database, "secret")) is None


def test_no_snapshot_is_taken_of_a_tablespace_that_comes_meanwhile(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    run(live, database, *_USERS)
    with ExitStack() as made, pytest.raises(BackupError, match='"elsewhere" was cre') as refusal:
        taking.take(midway=lambda: made.enter_context(_tablespace(live, database)))
    assert refusal.value.code == "postgres.tablespace_meanwhile"
    assert table(database, "users") in _classes(taking.take())


def test_no_snapshot_is_taken_of_a_tablespace_that_comes_before_its_checkpoint_ends(
    live: PostgresServer, database: str, taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup itself lists such a tablespace, and its WAL has the creation."""
    run(live, database, *_USERS)
    with ExitStack() as made:

        def read_and_make_one() -> dict[int, str]:
            found = live_tablespaces()
            made.enter_context(_tablespace(live, database))
            return found

        monkeypatch.setattr(backup, "live_tablespaces", read_and_make_one)
        with pytest.raises(BackupError, match='"elsewhere" was created meanwhile'):
            taking.take()


def test_a_table_whose_class_rose_needs_a_base(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    run(live, database, *_USERS)
    taking.settings[table(database, "users")] = LOCAL
    base = taking.take()
    moved = taking.moved
    del taking.settings[table(database, "users")]
    with pytest.raises(ParentUnusableError, match="public/users was stored on this host only"):
        taking.take(base)
    assert taking.moved == moved, "it is known before anything is streamed"


def test_a_table_whose_class_fell_needs_no_base(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    run(live, database, *_USERS)
    base = taking.take()
    taking.settings[table(database, "users")] = DISABLED
    increment = taking.take(base)
    assert _places(increment, database, "users") == {Tier.NONE}


def test_odd_names_are_carried(live: PostgresServer, database: str, taking: Taking) -> None:
    names = ('a "b"/c', "100%", "Кириллица", "..", "x" * 63, "a.b*c", " ")
    for name in names:
        quoted = name.replace('"', '""')
        run(live, database, f'CREATE TABLE "{quoted}" AS SELECT 1 AS id')
    base = taking.take()
    carried = {carried.id.level3 for carried in base.manifest.objects}
    assert carried >= set(names)
    assert set(index_of(base).objects) >= {table(database, name) for name in names}


def test_an_incremental_of_two_thousand_quiet_tables_is_next_to_nothing(
    live: PostgresServer, database: str, taking: Taking
) -> None:
    run(
        live,
        database,
        "DO $$BEGIN FOR n IN 1..2000 LOOP EXECUTE format('CREATE TABLE t%s AS SELECT 1', n);"
        " IF n % 500 = 0 THEN COMMIT; END IF; END LOOP; END$$",
    )
    base = taking.take()
    increment = taking.take(base)
    assert (
        len([carried for carried in increment.manifest.objects if carried.id.level1 == database])
        == 2000
    )
    assert increment.manifest.stored_size < 500_000


def test_a_snapshot_of_another_cluster_is_refused(live: PostgresServer, taking: Taking) -> None:
    taking.carrier = Carrier("postgres/cluster/1")
    with pytest.raises(BackupError, match="the server that answers is postgres/cluster/"):
        taking.take()


def _heap(server: PostgresServer, database: str, name: str) -> str:
    return ask(server, database, f"SELECT pg_relation_filepath('{name}')")


def _places(snapshot: Files, database: str, name: str) -> set[Tier]:
    index = index_of(snapshot)
    relations = index.objects[table(database, name)]
    return {index.files[path].place for path in relations if path in index.files}


def _classes(snapshot: Files) -> dict[object, str]:
    return {carried.id: carried.facts["class"] for carried in snapshot.manifest.objects}


def _pgbench(server: PostgresServer, database: str, *arguments: str) -> None:
    argv: tuple[str | Path, ...] = (server.bindir / "pgbench", *arguments, database)
    subprocess.run(argv, env=server.environ, check=True, capture_output=True)


@contextmanager
def _load(server: PostgresServer, database: str) -> Iterator[None]:
    """Run pgbench during the block."""
    argv: tuple[str | Path, ...] = (
        server.bindir / "pgbench",
        "--client=2",
        "--time=600",
        "--no-vacuum",
        database,
    )
    load = subprocess.Popen(
        argv, env=server.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
        assert load.poll() is None, "the load did not last"
    finally:
        load.kill()
        load.wait()


@contextmanager
def _tablespace(server: PostgresServer, database: str) -> Iterator[None]:
    """Create a tablespace with a table in it for the block."""
    folder = server.folder / "elsewhere"
    run(server, database, f"COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; mkdir -p {folder}'")
    run(server, database, f"CREATE TABLESPACE elsewhere LOCATION '{folder}'")
    run(server, database, "CREATE TABLE away TABLESPACE elsewhere AS SELECT * FROM users")
    try:
        yield
    finally:
        run(server, database, "DROP TABLE away", "DROP TABLESPACE elsewhere")


@contextmanager
def _transaction(server: PostgresServer, database: str, statement: str) -> Iterator[str]:
    """Run the statement that creates `unseen` in a transaction, left open; yield its path."""
    import psycopg

    with psycopg.connect(server.conninfo(database)) as connection:
        connection.execute(statement.encode())
        ((path,),) = connection.execute("SELECT pg_relation_filepath('unseen')")
        connection.execute("CHECKPOINT")
        yield str(path)
