"""Failures are reported, affect nothing else, and are repaired by the next run."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep, time

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, Storm, proxy, refusal
from tests.lab.sample import Sample
from tests.pipeline.conftest import Host, store

MEGABYTE = 1 << 20
NOWHERE = "http://127.0.0.1:9"
HASH = "select count(*), md5(string_agg(t::text, '|' order by id)) from noise t"


@pytest.fixture
def noisy(host: Host) -> Host:
    """A host with a table of 50,000 rows."""
    host.execute(
        "create table noise as select i as id, md5(random()::text) as word"
        " from generate_series(1, 50000) i"
    )
    return host


@pytest.fixture
def noisier(host: Host) -> Host:
    """A host whose table does not compress, so that its upload has several parts."""
    host.execute("create table noise (id int, word bytea)")
    with host.connect() as connection, connection.cursor() as cursor:
        rows = [(number, os.urandom(MEGABYTE)) for number in range(72)]
        cursor.executemany("insert into noise values (%s, %b)", rows)
    return host


@contextmanager
def started(host: Host, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program in a process group of its own, with empty standard input."""
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=host.real.environ,
        cwd=host.folder,
        text=True,
        start_new_session=True,
    ) as process:
        yield process


def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = monotonic() + seconds
    while not happened():
        assert monotonic() < deadline, "it never happened"
        sleep(0.005)


def sent_parts(host: Host) -> int:
    """Return how many uploaded parts the journals of this host name."""
    journals = (host.local_dir / "journal").rglob("s3.pack.journal")
    return sum(path.read_bytes().count(b'"part":') for path in journals)


def members(group: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


@contextmanager
def arguments_seen() -> Iterator[set[bytes]]:
    """Collect the command lines of all processes that run during the block."""
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(path.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def is_green(host: Host) -> None:
    """Check that a run succeeds, nothing is left behind, and `noise` restores from S3 alone."""
    then = host.rows(HASH)
    host.good("tb-run")
    assert not list((host.local_dir / "journal").rglob("*.journal"))
    assert not list(host.local_dir.rglob(".unfinished-*"))
    assert host.rows("select * from pg_replication_slots") == []
    host.wipe()
    host.execute("alter table noise rename to mislaid")
    host.good(f"tb-restore {host.table('noise')}")
    assert host.rows(HASH) == then


def test_an_upload_that_was_killed_goes_on_where_it_stopped(noisier: Host) -> None:
    taken = noisier.good("tb-discover | tb-plan | tb-snapshot").stdout
    (noisier.folder / "taken").write_text(taken)
    with started(noisier, "/bin/sh", "-c", "tb-upload < taken") as process:
        until(lambda: sent_parts(noisier) >= 1)
        os.killpg(process.pid, signal.SIGKILL)
    outcome = noisier.good("tb-upload < taken")
    uploaded = outcome.records[0]["uploaded"]
    assert uploaded["resumed"] >= 16 * MEGABYTE
    assert uploaded["resumed"] < uploaded["bytes"]
    is_green(noisier)


class Hanging:
    """Lets one part of an upload pass to S3 and holds back the parts after it."""

    def __init__(self) -> None:
        self.free = threading.Event()  # once set, parts that come pass
        self.over = threading.Event()  # ends the parts that are held back, unanswered
        self._first = threading.Lock()

    def __call__(self, request: Request, forward: Forward) -> Answer:
        is_part = request.is_("PUT", "uploadId") and len(request.body) >= MEGABYTE
        if is_part and not self.free.is_set() and not self._first.acquire(blocking=False):
            self.over.wait()
            return Answer(0, {}, b"")
        return forward()


class AwayForParts:
    """Refuses every part with 503 SlowDown, and counts them."""

    def __init__(self) -> None:
        self.refused = 0

    def __call__(self, request: Request, forward: Forward) -> Answer:
        if not request.is_("PUT", "partNumber"):
            return forward()
        self.refused += 1
        return refusal(503, "SlowDown")


def is_silent_for_hours(lock: Path) -> bool:
    """Set the run's heartbeat back two hours; return whether no beat followed within a second."""
    two_hours_ago = time() - 7200
    os.utime(lock, (two_hours_ago, two_hours_ago))
    sleep(1)
    return lock.stat().st_mtime <= two_hours_ago


def test_a_run_that_hangs_is_taken_over_and_its_upload_goes_on(noisier: Host) -> None:
    hanging, lock = Hanging(), noisier.local_dir / "locks/run"
    with proxy(noisier.s3.endpoint, hanging) as endpoint:
        noisier.configure(s3_endpoint=endpoint)
        with started(noisier, "tb-run") as process:
            until(lambda: sent_parts(noisier) == 1)
            until(lambda: is_silent_for_hours(lock))
            hanging.free.set()
            outcome = noisier.good("tb-run --if-running kill --json")
            assert process.wait(10) in (-signal.SIGTERM, 128 + signal.SIGTERM)
        hanging.over.set()
    uploaded = outcome.records[0]["uploaded"]
    assert 16 * MEGABYTE <= uploaded["resumed"] < uploaded["bytes"]
    noisier.configure()
    is_green(noisier)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_ends_its_stages_and_the_next_one_goes_on(
    noisy: Host, number: signal.Signals
) -> None:
    with started(noisy, "tb-run") as process:
        until(lambda: bool(list(noisy.local_dir.rglob(".unfinished-*/core.pack"))))
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in stderr
    assert members(process.pid) == []
    is_green(noisy)


def test_a_snapshot_that_was_killed_leaves_nothing_that_lists(noisy: Host) -> None:
    with started(noisy, "tb-run") as process:
        until(lambda: bool(list(noisy.local_dir.rglob(".unfinished-*/core.pack"))))
        os.killpg(process.pid, signal.SIGKILL)
    until(lambda: members(process.pid) == [])
    assert noisy.good("tb-list --stored --json").stdout == ""
    is_green(noisy)


def test_s3_that_is_away_is_said_once_and_nothing_is_lost(noisy: Host) -> None:
    endpoint = noisy.s3.endpoint
    noisy.good("tb-discover | tb-plan | tb-snapshot > taken")
    noisy.configure(s3_endpoint=NOWHERE, s3_timeout="1s")
    refused = noisy.sh("tb-upload < taken | tb-rotate")
    assert refused.status in (1, 69)
    assert refused.stderr.count("tb-upload:") == 1
    assert "s3_endpoint" in refused.stderr
    assert {record["error"]["code"] for record in refused.records} == {"s3.unreachable"}
    noisy.configure(s3_endpoint=endpoint)
    is_green(noisy)


def test_a_run_waits_once_for_s3_that_is_away_and_the_next_run_anew(noisy: Host) -> None:
    endpoint = noisy.s3.endpoint
    noisy.configure(s3_endpoint=NOWHERE, s3_timeout="5s", wal="pull")
    for _ in range(2):
        failed = noisy.sh("tb-run")
        assert failed.status in (1, 69)
        assert failed.stderr.count("is tried again for up to") == 1, failed.stderr
    noisy.configure(s3_endpoint=endpoint)
    noisy.good("tb-run")
    assert not list(noisy.local_dir.glob("locks/*.away"))
    is_green(noisy)


def test_a_storm_is_waited_for(noisy: Host, pytestconfig: pytest.Config) -> None:
    seconds = 60 if Sample.of(pytestconfig).everything else 10
    storm = Storm(seconds, refusal(429, "TooManyRequests"))
    with proxy(noisy.s3.endpoint, storm) as endpoint:
        noisy.configure(s3_endpoint=endpoint)
        outcome = noisy.good("tb-run")
    assert storm.refused > seconds / 10
    assert "is tried again for up to" in outcome.stderr
    assert outcome.stderr.count("is tried again for up to") <= 4  # at most once per tool
    noisy.configure()
    is_green(noisy)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_upload_that_waits_for_s3_stops_when_it_is_told(
    noisier: Host, number: signal.Signals
) -> None:
    away = AwayForParts()
    with proxy(noisier.s3.endpoint, away) as endpoint:
        noisier.configure(s3_endpoint=endpoint, s3_timeout="1h")
        with started(noisier, "tb-run") as process:
            until(lambda: away.refused > 8)
            os.killpg(process.pid, number)
            _, stderr = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "the next run goes on from here" in stderr
    assert members(process.pid) == []
    noisier.configure()
    is_green(noisier)


def test_snapshots_are_taken_while_s3_is_away_and_uploaded_when_it_is_back(noisy: Host) -> None:
    noisy.configure(s3_endpoint=NOWHERE, s3_timeout="1s")
    run = noisy.sh("tb-run")
    assert run.status == 69
    assert "planned from what lies on this host" in run.stderr
    (folder,) = noisy.local_dir.glob("postgres/cluster/*/*-base")
    assert (folder / "manifest.json").is_file()
    noisy.configure(max_base_snapshots_local=0)
    noisy.good("tb-discover | tb-snapshot --incremental | tb-upload | tb-rotate")
    assert not folder.exists()
    noisy.execute("update noise set word = md5(word) where id % 100 = 0")
    noisy.configure(s3_endpoint=NOWHERE, s3_timeout="1s")
    outcome = noisy.good("tb-discover | tb-snapshot --incremental")
    assert "the snapshot is taken on this host" in outcome.stderr
    assert {record["snapshot"]["kind"] for record in outcome.records} == {"incremental"}
    noisy.configure()
    is_green(noisy)
    snapshots = noisy.good("tb-list --stored --json").records[0]["snapshots"]
    assert [snapshot["kind"] for snapshot in snapshots] == ["base", "incremental", "incremental"]


def test_what_lies_on_this_host_is_restored_while_s3_is_away(noisy: Host) -> None:
    noisy.good("tb-run")
    then = noisy.rows(HASH)
    noisy.execute("drop table noise")
    noisy.configure(s3_endpoint=NOWHERE, s3_timeout="1s")
    outcome = noisy.good(f"tb-restore {noisy.table('noise')}")
    assert "only what lies on this host can be restored meanwhile" in outcome.stderr
    assert noisy.rows(HASH) == then


@contextmanager
def refusing(host: Host) -> Iterator[list[str]]:
    """Let S3 refuse every request during the block; yield the paths that were requested."""
    asked: list[str] = []

    def refuse(request: Request, forward: Forward) -> Answer:
        asked.append(request.path)
        return refusal(403, "AccessDenied", "the account is suspended")

    with proxy(host.s3.endpoint, refuse) as endpoint:
        host.configure(s3_endpoint=endpoint)
        yield asked
    host.configure()


def test_snapshots_are_planned_and_restored_from_here_while_s3_refuses_everything(
    noisy: Host,
) -> None:
    with refusing(noisy) as asked:
        planned = noisy.good("tb-discover | tb-plan")
        assert len(asked) == 1
    assert "access is denied" in planned.stderr
    assert "planned from what lies on this host" in planned.stderr
    assert {record["take"] for record in planned.records} == {"base"}
    noisy.good("tb-run")
    then = noisy.rows(HASH)
    noisy.execute("drop table noise")
    with refusing(noisy):
        outcome = noisy.good(f"tb-restore {noisy.table('noise')}")
    assert "only what lies on this host can be restored meanwhile" in outcome.stderr
    assert noisy.rows(HASH) == then


def test_a_key_that_has_expired_keeps_no_snapshot_from_being_planned(host: Host) -> None:
    host.execute("create table noise (id int, word text)")
    host.configure(s3_access_key="expired")
    planned = host.good("tb-discover | tb-plan")
    assert "planned from what lies on this host" in planned.stderr
    assert {record["take"] for record in planned.records} == {"base"}
    refused = host.sh(f"tb-restore --s3-prefix other {host.table('noise')}")
    assert refused.status == 1
    assert "meanwhile" not in refused.stderr


def test_postgres_that_is_away_is_a_record_and_a_status(host: Host) -> None:
    outcome = host.sh("tb-discover", environ={"PGPORT": "9"})
    assert outcome.status == 69
    (record,) = outcome.records
    assert (record["id"], record["error"]["code"]) == ("postgres", "postgres.unreachable")
    run = host.sh("tb-run", environ={"PGPORT": "9"})
    assert run.status == 69
    assert "postgres" in run.stdout


def test_another_host_on_the_same_prefix_is_refused_unless_it_adopts(host: Host) -> None:
    host.execute("create table noise (id int, word text)")
    store(host).write("owner.json", json.dumps({"v": 1, "host": "somebody-else"}).encode())
    refused = host.sh("tb-run")
    assert refused.status != 0
    assert "--adopt" in refused.stderr
    host.good("tb-list --stored")
    host.good("tb-run --adopt")
    is_green(host)


def test_what_was_begun_in_another_bucket_is_cleared_there_after_a_day(noisier: Host) -> None:
    noisier.good("tb-discover | tb-plan | tb-snapshot > taken")
    noisier.configure(s3_prefix="old")
    with started(noisier, "/bin/sh", "-c", "tb-upload < taken") as process:
        until(lambda: sent_parts(noisier) >= 1)
        os.killpg(process.pid, signal.SIGKILL)
    noisier.configure()
    noisier.good("tb-run")
    client = store(noisier).client
    assert "Uploads" in client.list_multipart_uploads(Bucket=noisier.bucket)
    for left in (noisier.local_dir / "journal").rglob("*.journal"):
        os.utime(left, (0, 0))
    noisier.good("tb-discover | tb-rotate")
    assert "Uploads" not in client.list_multipart_uploads(Bucket=noisier.bucket)
    is_green(noisier)


def test_what_was_begun_in_another_bucket_stays_while_it_is_still_to_be_uploaded(
    noisier: Host,
) -> None:
    noisier.good("tb-discover | tb-plan | tb-snapshot > taken")
    noisier.configure(s3_prefix="old")
    with started(noisier, "/bin/sh", "-c", "tb-upload < taken") as process:
        until(lambda: sent_parts(noisier) >= 1)
        os.killpg(process.pid, signal.SIGKILL)
    noisier.configure()
    (journal,) = (noisier.local_dir / "journal").rglob("s3.pack.journal")
    os.utime(journal, (0, 0))
    noisier.good("tb-discover | tb-rotate")
    assert sent_parts(noisier) >= 1
    noisier.configure(s3_prefix="old")
    assert noisier.good("tb-upload < taken").records[0]["uploaded"]["resumed"] > 0
    is_green(noisier)


def test_keys_that_nobody_here_began_are_reported_and_stay(host: Host) -> None:
    host.execute("create table noise (id int, word text)")
    host.good("tb-run")
    (record, *_) = host.good("tb-discover").records
    foreign = f"data/{record['carrier']}/20200101T000000Z-base/core.pack.00001"
    store(host).write(foreign, b"x")
    store(host).write("somebody/elses", b"x")
    outcome = host.good("tb-discover | tb-snapshot | tb-upload | tb-rotate")
    assert foreign in outcome.stderr
    assert "belong to no snapshot" in outcome.stderr
    assert store(host).size(foreign) == 1
    assert store(host).size("somebody/elses") == 1


def test_a_flipped_byte_in_s3_is_found_and_nothing_is_restored(noisy: Host) -> None:
    noisy.good("tb-run")
    noisy.wipe()
    noisy.execute("alter table noise rename to mislaid")
    (key,) = [
        entry.key for entry in store(noisy).keys("data/") if entry.key.endswith("s3.pack.00001")
    ]
    body = bytearray(store(noisy).read(key))
    body[len(body) // 2] ^= 1
    store(noisy).write(key, bytes(body))
    refused = noisy.sh(f"tb-restore {noisy.table('noise')}")
    assert refused.status == 1
    assert "s3.pack" in refused.stderr
    assert noisy.rows("select to_regclass('noise')") == [(None,)]


def test_a_manifest_in_anothers_place_is_refused(noisy: Host) -> None:
    noisy.good("tb-run")
    noisy.wipe()
    (key,) = [entry.key for entry in store(noisy).keys("manifests/")]
    moved = key.replace("Z-base", "Z-base").replace("/2", "/3", 1)
    store(noisy).write(moved, store(noisy).read(key))
    refused = noisy.sh(f"tb-restore {noisy.table('noise')} --level3-suffix _2")
    assert refused.status == 1
    assert "this is the manifest of" in refused.stderr


def test_a_run_with_nothing_due_asks_s3_once_a_thousand_manifests(host: Host) -> None:
    host.execute("create table noise (id int, word text)")
    host.good("tb-run")
    asked: list[str] = []

    def count(request: Request, forward: Forward) -> Answer:
        asked.append(f"{request.method} {request.path}")
        return forward()

    with proxy(host.s3.endpoint, count) as endpoint:
        host.configure(s3_endpoint=endpoint)
        host.good("tb-run")
    assert len(asked) <= 2, asked


def test_no_secret_of_ours_shows_anywhere(host: Host) -> None:
    host.execute("create table noise (id int, word text)")
    password = host.environ["PGPASSWORD"]
    (host.folder / ".env").write_text(f"PGPASSWORD={password}\n")
    del host.environ["PGPASSWORD"]
    secrets = [password.encode(), host.s3.secret_key.encode()]
    assert all(len(secret) > 9 for secret in secrets)
    with arguments_seen() as seen:
        outcomes = [
            host.real.sh("tb-discover | tb-plan | tb-snapshot | tb-upload | tb-rotate"),
            host.real.sh("tb-run --json"),
            host.real.sh("tb-list --json --stages --snapshots < /dev/null"),
            host.real.sh(f"tb-restore --level3-suffix _2 {host.table('noise')}"),
        ]
    assert [outcome.status for outcome in outcomes] == [0, 0, 0, 0]
    said = [(outcome.stdout + outcome.stderr).encode() for outcome in outcomes]
    files = [path.read_bytes() for path in host.local_dir.rglob("*") if path.is_file()]
    manifests = [store(host).read(entry.key) for entry in store(host).keys("manifests/")]
    assert any(b"tb-snapshot" in line for line in seen)
    for secret in secrets:
        for text in (*said, *files, *manifests, *seen):
            assert secret not in text


def test_what_lies_on_this_host_is_for_its_owner_alone(host: Host) -> None:
    host.execute("create table noise (id int, word text)")
    host.good("tb-run")
    for path in host.local_dir.rglob("*"):
        if not path.is_relative_to(host.local_dir / "scratch"):
            assert path.stat().st_mode & 0o077 == 0, path
