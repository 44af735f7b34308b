"""tb-init leads from nothing to a backup that restores; whatever goes wrong, it leaves nothing."""

import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.lab.conversation import Conversation, conversation
from tests.lab.forked import Forked
from tests.pipeline.conftest import BIN, Host, Outcome, host_beside, store
from three_backup.beginning.files import KEY
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer

_NUMBERS = count(1)
_ROOT = os.geteuid() == 0
_CTRL_C = b"\x03"


class Fresh:
    """A host that has servers and programs, and nothing of ours."""

    def __init__(self, host: Host, clickhouse: ClickhouseServer) -> None:
        self.host = host.real
        self.folder = host.folder / f"fresh{next(_NUMBERS)}"
        self.folder.mkdir(mode=0o700)
        self.config = self.folder / "etc" / "three_backup.yaml"
        self.env = self.config.with_name(".env")
        self.bucket = f"fresh-{host.bucket}-{self.folder.name}"
        self.environ = {
            **{name: text for name, text in host.environ.items() if name not in _OURS},
            **{name: text for name, text in clickhouse.environ.items() if name != "PATH"},
            "PATH": f"{clickhouse.bindir}:{self.host.environ['PATH']}",
            "THREE_BACKUP_CONFIG": str(self.config),
            "HOME": str(self.folder),
            "NO_COLOR": "1",
        }

    @property
    def s3(self) -> SeaweedServer:
        return self.host.s3

    @property
    def words(self) -> tuple[str, ...]:
        """The options that say where to, but for the keys."""
        return ("--endpoint", self.s3.endpoint, "--bucket", self.bucket, *self.folders)

    @property
    def folders(self) -> tuple[str, ...]:
        return ("--local-dir", str(self.folder / "local"))

    @property
    def keys(self) -> str:
        return f"{self.s3.access_key}\n{self.s3.secret_key}\n"

    def init(self, *words: str, stdin: str | None = None, before: str = "") -> Outcome:
        """Run it where nobody can be asked."""
        given = self.keys if stdin is None else stdin
        words = ("tb-init", *self.words, "--keys-from", "-", *words)
        return self.sh(f"{before}{shlex.join(words)}", given)

    def sh(self, command: str, stdin: str = "") -> Outcome:
        ran = subprocess.run(
            ("/bin/sh", "-c", command),
            input=stdin,
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Outcome(ran.returncode, ran.stdout, ran.stderr)

    def written(self) -> list[Path]:
        """Return what lies where the configuration belongs."""
        return sorted(self.config.parent.glob("*"))

    def left(self) -> list[str]:
        return [path.name for path in self.written()]


_OURS = ("PGUSER", "PGPASSWORD", "PGDATABASE", "THREE_BACKUP_CONFIG")
"""Variables without which the host's own user is refused by its server."""


@pytest.fixture(scope="module")
def unprepared(server_folder: Path, seaweed: SeaweedServer, tools: Forked) -> Iterator[Host]:
    """A host whose PostgreSQL nobody has prepared."""
    settings = {"summarize_wal": "off"}
    with PostgresServer(server_folder / "untouched", 17, settings) as server:
        seaweed.create_bucket("unprepared")
        with host_beside(server_folder, server, seaweed, "unprepared", tools) as host:
            host.execute("create table orders as select generate_series(1, 1000) as id")
            yield host
        seaweed.delete_bucket("unprepared")


@pytest.fixture
def fresh(unprepared: Host, clickhouse: ClickhouseServer) -> Iterator[Fresh]:
    made = Fresh(unprepared, clickhouse)
    yield made
    unprepared.execute("drop role if exists backup")
    made.s3.delete_bucket(made.bucket)


@pytest.fixture
def asked(fresh: Fresh) -> Iterator[Conversation]:
    with conversation(("tb-init", *fresh.folders), fresh.environ, fresh.folder) as talk:
        yield talk


def test_from_nothing_to_a_backup_that_restores_by_answers(
    fresh: Fresh, asked: Conversation, clickhouse: ClickhouseServer
) -> None:
    clickhouse.execute("CREATE TABLE default.seen ENGINE MergeTree ORDER BY n AS SELECT 1 AS n")
    shown = asked.until("back up which of them")
    assert "ClickHouse" in shown
    asked.type("")
    asked.answer(server_and_bucket=f"{fresh.s3.endpoint}/{fresh.bucket}")
    asked.answer(access_key=fresh.s3.access_key, not_shown="a wrong one")
    assert "check s3_access_key and s3_secret_key" in " ".join(asked.until("correct it").split())
    assert fresh.left() == []
    asked.answer(server_and_bucket="", access_key="", not_shown=fresh.s3.secret_key)
    asked.answer(make_it="y")
    asked.until("to be run by an administrator of postgres")
    asked.until("'END'\n")
    statements = asked.until("END\n")
    fresh.host.good("psql -Xq -v ON_ERROR_STOP=1", statements)
    if _ROOT:
        asked.answer(run_it_now="n")
    asked.answer(Enter_when_that_is_done="")
    asked.until("17 * * * *")
    asked.answer(take_the_first_backup="")
    asked.until("all is well with")
    asked.until("OK - ")
    assert asked.end() == 0
    assert fresh.s3.secret_key not in asked.text
    assert "PGPASSWORD" not in asked.text
    clickhouse.execute("DROP TABLE default.seen")
    written = {path.name: stat.S_IMODE(path.stat().st_mode) for path in fresh.written()}
    assert written == {".env": 0o600, "three_backup.yaml": 0o600}
    # As cron starts it, from S3 alone.
    for name in ("PGHOST", "PGPORT", "CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD"):
        fresh.environ.pop(name, None)
    assert fresh.sh("tb-check").status == 0
    rows = fresh.sh(f"tb-cat {fresh.host.table('orders')}")
    assert len(rows.stdout.splitlines()) == 1001


def test_what_is_not_mended_is_told_again_and_can_be_left(
    fresh: Fresh, asked: Conversation
) -> None:
    asked.answer(which_of_them="postgres")
    asked.answer(server_and_bucket=fresh.s3.endpoint, bucket=fresh.bucket)
    asked.answer(access_key=fresh.s3.access_key, not_shown=fresh.s3.secret_key, make_it="y")
    if _ROOT:
        asked.answer(run_it_now="n")
    asked.answer(Enter_when_that_is_done="")
    asked.until("bad   postgres: PostgreSQL: password authentication failed")
    asked.answer(Enter_when_that_is_done="s", take_the_first_backup="")
    asked.until("tb-run takes the first backup")
    assert asked.end() == 1
    assert fresh.left() == [".env", "three_backup.yaml"]


@pytest.mark.parametrize("given", ["--bucket", "--endpoint"])
def test_only_what_is_not_given_is_asked_for(fresh: Fresh, given: str) -> None:
    """The access key is asked for next: where to is known by then."""
    value = {"--bucket": fresh.bucket, "--endpoint": fresh.s3.endpoint}[given]
    with conversation(("tb-init", given, value), fresh.environ, fresh.folder) as talk:
        talk.answer(which_of_them="none")
        if given == "--bucket":
            talk.answer(server=fresh.s3.endpoint)
        else:
            talk.answer(bucket="no bucket of this name")
            talk.answer(bucket=fresh.bucket)
        talk.answer(access_key="nobody", not_shown="wrong")
        talk.until(f"S3 at {fresh.s3.endpoint}, bucket {fresh.bucket}")
        talk.until("server and bucket [")


def test_by_options_alone_it_asks_nobody(fresh: Fresh) -> None:
    words = ("--create-bucket", "--sign", "--prepare", "--run", "-s", "postgres")
    outcome = fresh.init(*words)
    if not _ROOT:
        assert outcome.status == 1
        assert "CREATE ROLE" in outcome.stdout
        return
    assert outcome.status == 0, outcome.stderr + outcome.stdout
    assert fresh.left() == [".env", KEY, "three_backup.yaml"]
    assert "all is well" in outcome.stdout
    assert "OK - " in outcome.stdout
    fresh.host.bucket, bucket = fresh.bucket, fresh.host.bucket
    try:
        prefix = os.uname().nodename
        (manifest,) = store(fresh.host, prefix).all_names("manifests/")
        assert b'"signature":"' in store(fresh.host, prefix).read(manifest)
    finally:
        fresh.host.bucket = bucket
    assert "clickhouse:\n    disable: true" in fresh.config.read_text()


def test_a_configuration_that_is_there_is_not_touched(fresh: Fresh) -> None:
    fresh.config.parent.mkdir()
    fresh.config.write_text("mine")
    outcome = fresh.init("--create-bucket")
    assert outcome.status == 78
    assert f"{fresh.config}: a configuration is there already" in outcome.stderr
    assert outcome.stdout == ""
    assert (fresh.config.read_text(), fresh.left()) == ("mine", ["three_backup.yaml"])


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("secret", "check s3_access_key and s3_secret_key"),
        ("away", "the S3 server cannot be connected to"),
        ("bucket", "there is no such bucket"),
    ],
)
def test_nothing_is_written_where_s3_does_not_work(fresh: Fresh, what: str, said: str) -> None:
    words = {"away": ("--endpoint", "http://127.0.0.1:1")}.get(what, ())
    stdin = f"{fresh.s3.access_key}\nwrong\n" if what == "secret" else fresh.keys
    given = ("tb-init", *fresh.folders, "--bucket", fresh.bucket, "--keys-from", "-")
    endpoint = words or ("--endpoint", fresh.s3.endpoint)
    outcome = fresh.sh(shlex.join((*given, *endpoint)), stdin)
    assert outcome.status == 1
    assert said in " ".join(outcome.stdout.split())
    assert "nothing was written" in outcome.stderr
    assert not fresh.config.parent.exists()


def test_after_three_wrong_keys_nothing_is_written(fresh: Fresh, asked: Conversation) -> None:
    asked.answer(which_of_them="none", server_and_bucket=f"{fresh.s3.endpoint}/{fresh.bucket}")
    for _ in range(3):
        asked.answer(access_key="nobody", not_shown="wrong")
        if _ < 2:
            asked.answer(server_and_bucket="")
    assert asked.end() == 1
    assert not fresh.config.parent.exists()


@pytest.mark.parametrize("questions", range(4))
def test_a_ctrl_c_at_any_question_leaves_nothing(
    fresh: Fresh, asked: Conversation, questions: int
) -> None:
    names = ("which of them", "server and bucket", "access key", "not shown")
    answers = ("", f"{fresh.s3.endpoint}/{fresh.bucket}", "demo")
    for name, line in zip(names[:questions], answers, strict=False):
        asked.until(name)
        asked.type(line)
    asked.until(names[questions])
    asked.press(_CTRL_C)
    assert asked.end() == 130
    assert asked.echoes
    assert not fresh.config.parent.exists()


def test_an_answer_that_cannot_be_meant_is_asked_again(fresh: Fresh, asked: Conversation) -> None:
    asked.answer(which_of_them="mysql")
    assert "is no source of this host" in asked.until("which of them")
    asked.type("none")
    asked.answer(server_and_bucket="s3.example.com/a bucket")
    asked.until("not the name of a bucket")
    asked.answer(server_and_bucket="https://[s3/backups")
    asked.until("is no address")
    asked.until("server and bucket")
    asked.press(b"s3.example.com/\xff\n")
    asked.until("not the name of a bucket")
    asked.answer(server_and_bucket=fresh.s3.endpoint, bucket="another bucket")
    asked.until("not the name of a bucket")
    asked.until("server and bucket")
    asked.press(b"\x04")
    assert asked.end() == 2
    assert "the question was not answered" in asked.text


def test_its_output_may_be_a_pipe(fresh: Fresh) -> None:
    command = ("sh", "-c", f"tb-init {shlex.join(fresh.folders)} | cat")
    with conversation(command, fresh.environ, fresh.folder) as talk:
        talk.answer(which_of_them="none")
        talk.answer(server_and_bucket=f"{fresh.s3.endpoint}/{fresh.bucket}")
        talk.answer(access_key=fresh.s3.access_key, not_shown=fresh.s3.secret_key, make_it="y")
        talk.until("tb-run takes the first backup")
        assert talk.end() == 0
    assert fresh.left() == ["three_backup.yaml"]


def test_once_it_is_written_the_configuration_stays(fresh: Fresh, asked: Conversation) -> None:
    asked.answer(which_of_them="clickhouse")
    asked.answer(server_and_bucket=f"{fresh.s3.endpoint}/{fresh.bucket}")
    asked.answer(access_key=fresh.s3.access_key, not_shown=fresh.s3.secret_key, make_it="y")
    asked.until("take the first backup now?")
    asked.press(_CTRL_C)
    assert asked.end() == 130
    assert f"{fresh.config} stays; tb-check tries it out" in asked.text
    assert fresh.left() == [".env", "three_backup.yaml"]


def test_a_timer_that_is_not_there_is_a_failure_if_it_is_asked_for(fresh: Fresh) -> None:
    outcome = fresh.init("--create-bucket", "-s", "clickhouse", "--enable")
    assert outcome.status == 1
    assert "three_backup.timer: there is none that would find" in outcome.stderr
    assert fresh.left() == [".env", "three_backup.yaml"]


def test_what_a_killed_attempt_left_is_used_by_the_next(fresh: Fresh) -> None:
    """It was killed between .env, whose password PostgreSQL has by now, and the configuration."""
    words = ("--create-bucket", "--prepare", "-s", "postgres", "--sign")
    first = fresh.init(*words)
    assert fresh.config.exists(), first.stdout + first.stderr
    fresh.config.with_name(".three_backup.yaml.new").write_text("- ")
    fresh.config.unlink()
    before = {path: path.read_text() for path in (fresh.env, fresh.env.with_name(KEY))}
    again = fresh.init(*words)
    assert again.status == first.status
    assert {path: path.read_text() for path in before} == before
    assert fresh.left() == [".env", KEY, "three_backup.yaml"]


def test_a_dotenv_of_somebody_else_is_not_touched(fresh: Fresh) -> None:
    fresh.config.parent.mkdir()
    fresh.env.write_text("DJANGO=1\n")
    outcome = fresh.init("--create-bucket")
    assert outcome.status == 78
    assert f"{fresh.env}: it is there already, but says nothing of PGHOST" in outcome.stderr
    assert (fresh.env.read_text(), fresh.left()) == ("DJANGO=1\n", [".env"])


def test_a_disk_that_takes_nothing_is_told_and_nothing_is_left(fresh: Fresh) -> None:
    outcome = fresh.init("--create-bucket", before="ulimit -f 0; ")
    assert outcome.status == 1
    assert "file too large" in outcome.stderr
    assert fresh.left() == []


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_tried(fresh: Fresh) -> None:
    (fresh.folder / "etc").write_text("a file")
    outcome = fresh.init("--create-bucket")
    assert outcome.status == 78
    assert "no file can be made there" in outcome.stderr
    assert outcome.stdout == ""


def test_a_host_without_sources_is_configured_for_restores(fresh: Fresh) -> None:
    programs = fresh.folder / "bin"
    programs.mkdir()
    (programs / "tb-init").symlink_to(BIN / "tb-init")
    (programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python3").chmod(0o700)
    fresh.environ["PATH"] = str(programs)
    outcome = fresh.init("--create-bucket", "--run")
    assert outcome.status == 0, outcome.stderr
    assert "there is nothing to back up" in " ".join(outcome.stdout.split())
    assert fresh.left() == ["three_backup.yaml"]


def test_a_client_without_a_server_is_left_out_and_no_run_fails_for_it(fresh: Fresh) -> None:
    fresh.environ["PGPORT"] = "1"
    outcome = fresh.init("--create-bucket", "--run")
    assert outcome.status == 0, outcome.stderr + outcome.stdout
    assert "postgres:\n    disable: true" in fresh.config.read_text()
    assert "PGPORT" not in fresh.env.read_text()
    assert outcome.stderr == ""
    assert fresh.sh("tb-check").status == 0


def test_a_signal_while_s3_is_tried_leaves_nothing(fresh: Fresh, asked: Conversation) -> None:
    asked.answer(which_of_them="", server_and_bucket=f"http://127.0.0.1:1/{fresh.bucket}")
    asked.answer(access_key="demo", not_shown="demo")
    asked.until("S3 at")
    asked.process.send_signal(signal.SIGTERM)
    assert asked.end() == 143
    assert not fresh.config.parent.exists()
