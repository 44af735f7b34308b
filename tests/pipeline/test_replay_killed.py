"""A replay of WAL that is killed, told to stop, cut off or out of room leaves all as it was.

`--seeds N` tries more instants, requests and sizes of the disk than a usual run.
"""

import random
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, proxy
from tests.lab.sample import Sample
from tests.pipeline.conftest import Host
from tests.pipeline.test_failures import MEGABYTE, started, until
from tests.pipeline.test_moments import archived as archived
from tests.pipeline.test_moments import lose_everything, now
from tests.pipeline.test_resources import disk, only_root
from tests.postgres.rebuilding import running
from three_backup.sources.postgres.cluster.building_site import UNFINISHED

_CONTENT = "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY id)) FROM {} t"
_KILLS = 3
_LEAST, _MOST = 20 * MEGABYTE, 320 * MEGABYTE
"""Sizes of a disk: the snapshot's files hardly fit into the least, all of it into the most."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", Sample.of(metafunc.config).instants("replay"))


@dataclass
class Replayable:
    """A host whose table has a known content at a moment that tens of megabytes of WAL lead to."""

    host: Host
    moment: str
    then: object  # what was in the table

    @property
    def scratch(self) -> Path:
        return self.host.folder / "scratch"

    @property
    def pgdata(self) -> Path:
        return self.host.folder / "rebuilt" / "pgdata"

    @property
    def commands(self) -> dict[str, str]:
        table = self.host.table("noise")
        return {
            "at": f"tb-restore --at {self.moment} --level3 back {table}",
            "before-drop": f"tb-restore --before-drop --level3 back {table}",
            "pgdata": f"tb-restore --pgdata {self.pgdata} --at {self.moment} 'postgres/*'",
        }

    def back(self) -> object:
        """Return what came back; None if the target is not there."""
        if self.host.rows("SELECT to_regclass('back')") == [(None,)]:
            return None
        return self.host.rows(_CONTENT.format("back"))

    def is_green(self, way: str) -> None:
        """Check that the command succeeds, that it leaves nothing behind, and what comes back."""
        self.host.good(self.commands[way])
        assert list(self.scratch.iterdir()) == []
        assert servers_below(self.host.folder) == []
        if way == "pgdata":
            with running(self.pgdata.parent, self.host.server) as server:
                rebuilt = Host.rows(_At(self.host, server), _CONTENT.format("noise"))
            assert rebuilt == self.then
            shutil.rmtree(self.pgdata)
        else:
            assert self.back() == self.then
            self.host.execute("DROP TABLE back")


class _At(Host):
    """The host, with another server."""

    def __init__(self, host: Host, server: object) -> None:
        self.__dict__.update(host.__dict__, server=server)


@pytest.fixture
def replayable(archived: Host) -> Replayable:
    archived.execute(
        "CREATE TABLE noise AS SELECT i AS id, repeat(md5(i::text), 5) AS word"
        " FROM generate_series(1, 30000) i"
    )
    archived.good("tb-discover | tb-snapshot --base | tb-upload")
    for _ in range(4):
        archived.execute("UPDATE noise SET word = md5(word) || word")
        archived.rows("SELECT pg_switch_wal()")
    moment = now(archived)
    then = archived.rows(_CONTENT.format("noise"))
    archived.execute("DROP TABLE noise")
    lose_everything(archived)
    found = Replayable(archived, moment, then)
    for folder in (found.scratch, found.pgdata.parent):
        folder.mkdir(mode=0o711)
    archived.configure(wal="pull", scratch_dir=found.scratch)
    return found


def servers_below(folder: Path) -> list[str]:
    """Return the processes that work in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            cwd = (process / "cwd").readlink()
            if cwd.is_relative_to(folder):
                found.append((process / "cmdline").read_text())
    return found


def replaying(place: Replayable) -> bool:
    """Tell whether a server has asked for WAL by now."""
    with suppress(FileNotFoundError):  # a restore makes and removes folders meanwhile
        spools = [*place.scratch.glob("*/spool"), *place.pgdata.rglob("spool")]
        return any(len(list(spool.iterdir())) > 1 for spool in spools)
    return False


@pytest.mark.parametrize("way", ["at", "before-drop", "pgdata"])
def test_what_is_killed_at_any_instant_touches_nothing_and_the_next_one_succeeds(
    replayable: Replayable, way: str, seed: int
) -> None:
    began = time.monotonic()
    replayable.is_green(way)
    seconds = time.monotonic() - began
    chance = random.Random(seed)
    argv = ["sh", "-c", f"exec {replayable.commands[way]}"]
    for _ in range(_KILLS):
        with started(replayable.host, *argv) as process:
            time.sleep(chance.uniform(0.1, seconds))
            process.send_signal(signal.SIGKILL)
        if way == "pgdata":
            empty_what_a_killed_restore_left(replayable)
        else:
            assert replayable.back() in (None, replayable.then)
            replayable.host.execute("DROP TABLE IF EXISTS back")
    replayable.is_green(way)


def empty_what_a_killed_restore_left(place: Replayable) -> None:
    """Do what the next restore into the same folder asks for; it has ended the server."""
    refused = place.host.sh(place.commands["pgdata"])
    assert refused.status in (0, 1)
    assert refused.status == 0 or "tb-restore was killed" in refused.stderr or whole(place)
    assert servers_below(place.host.folder) == []
    shutil.rmtree(place.pgdata)


def whole(place: Replayable) -> bool:
    """Tell whether the restore had ended before it was killed."""
    return (place.pgdata / "PG_VERSION").exists()


def test_the_server_of_a_killed_restore_of_a_cluster_is_ended_by_the_next_one(
    replayable: Replayable,
) -> None:
    argv = ["sh", "-c", f"exec {replayable.commands['pgdata']}"]
    log = replayable.pgdata / UNFINISHED / "server.log"
    with started(replayable.host, *argv) as process:
        until(lambda: log.exists() and "archive recovery complete" in log.read_text())
        process.send_signal(signal.SIGKILL)
    assert servers_below(replayable.host.folder) != []
    empty_what_a_killed_restore_left(replayable)
    replayable.is_green("pgdata")


@pytest.mark.parametrize("way", ["at", "before-drop", "pgdata"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_replay_that_is_told_to_stop_ends_within_seconds_and_leaves_nothing(
    replayable: Replayable, way: str, number: signal.Signals
) -> None:
    argv = ["sh", "-c", f"exec {replayable.commands[way]}"]
    with started(replayable.host, *argv) as process:
        until(lambda: replaying(replayable))
        process.send_signal(number)
        _, stderr = process.communicate(timeout=15)
    assert process.returncode == 128 + number
    assert "Traceback" not in stderr
    assert list(replayable.scratch.iterdir()) == []
    assert not replayable.pgdata.exists()
    until(lambda: servers_below(replayable.host.folder) == [])
    assert replayable.back() is None


@dataclass
class Away:
    """S3 is away for good from the n-th read of WAL on."""

    number: int
    seen: int = 0

    def __call__(self, request: Request, forward: Forward) -> Answer:
        if request.method == "GET" and "/wal/" in request.path and ".zst" in request.path:
            self.seen += 1
        return Answer(0, {}, b"") if self.seen >= self.number else forward()


def configure(place: Replayable, endpoint: str) -> None:
    scratch = place.scratch
    place.host.configure(wal="pull", scratch_dir=scratch, s3_timeout="1s", s3_endpoint=endpoint)


@pytest.mark.parametrize("way", ["at", "before-drop", "pgdata"])
def test_s3_that_goes_away_in_the_middle_is_a_sentence(
    replayable: Replayable, way: str, seed: int
) -> None:
    host, counting = replayable.host, Away(1 << 30)
    with proxy(host.s3.endpoint, counting) as endpoint:
        configure(replayable, endpoint)
        replayable.is_green(way)
    away = Away(random.Random(seed).randint(1, counting.seen))
    with proxy(host.s3.endpoint, away) as endpoint:
        configure(replayable, endpoint)
        done = host.sh(replayable.commands[way])
    assert done.status in (1, 69), done.stderr
    assert "Traceback" not in done.stderr
    assert "s3_endpoint" in done.stderr
    assert replayable.back() is None
    assert not replayable.pgdata.exists()
    assert list(replayable.scratch.iterdir()) == []
    assert servers_below(host.folder) == []
    configure(replayable, host.s3.endpoint)
    replayable.is_green(way)


@only_root
@pytest.mark.parametrize("way", ["at", "before-drop"])
def test_a_scratch_disk_that_fills_up_in_the_middle_is_a_sentence(
    replayable: Replayable, way: str, seed: int
) -> None:
    room = random.Random(seed).randrange(_LEAST, _MOST)
    with disk(replayable.scratch, f"size={room}"):
        done = replayable.host.sh(replayable.commands[way])
        assert done.status in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
        assert list(replayable.scratch.iterdir()) == []
        if done.status == 1:
            assert "room" in done.stderr
            assert replayable.back() is None
    assert servers_below(replayable.host.folder) == []
    replayable.host.execute("DROP TABLE IF EXISTS back")
    replayable.is_green(way)
