"""tb-run with real processes, whose stages are scripts of the test."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from three_backup.host.places import HEARTBEAT

ROOT = Path(__file__).parents[2]
STAGES = ("tb-discover", "tb-plan", "tb-snapshot", "tb-upload", "tb-rotate")
COPY = "import sys; sys.stdout.reconfigure(line_buffering=True); sys.stdout.writelines(sys.stdin)"
UNTIL_RELEASED = "import os, sys; open(os.environ['RELEASE']).read()"
CARRIER = "postgres/cluster/7"
ERROR = {
    "tool": "tb-upload",
    "code": "s3.denied",
    "message": f"{CARRIER}: the bucket refuses the key",
    "hint": "check s3_access_key",
}


def record(name: str, **fields: object) -> dict[str, object]:
    return {
        "v": 1,
        "id": f"postgres/table/shop/public/{name}",
        "type": "postgres",
        "subtype": "table",
        "carrier": CARRIER,
        "todo": [],
        **fields,
    }


@dataclass
class Installation:
    """A folder with tb-run and its stages, which copy their input unless a test scripts them."""

    folder: Path
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def release(self) -> Path:
        return self.folder / "release"

    def stage(self, name: str, script: str) -> None:
        (self.folder / name).write_text(script)

    def discovers(self, *records: dict[str, object], then: str = "") -> None:
        lines = "".join(json.dumps(fields) + "\n" for fields in records)
        self.stage("tb-discover", f"print({lines!r}, end='', flush=True)\n{then}")

    def start(self, *arguments: str, options: str = "") -> subprocess.Popen[str]:
        configuration = self.folder / "configuration.yaml"
        configuration.write_text(f'- "*":\n    local_dir: {self.state}\n{options}')
        started = subprocess.Popen(
            (sys.executable, self.folder / "tb-run", "-c", configuration, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "RELEASE": str(self.release)},
        )
        self.running.append(started)
        return started

    def run(self, *arguments: str, options: str = "") -> tuple[int, str, str]:
        """Return the exit status, standard output and standard error."""
        started = self.start(*arguments, options=options)
        output, errors = started.communicate(timeout=60)
        return started.returncode, output, errors

    def members(self) -> dict[str, int]:
        """Return the processes that the lock file names; it may lack one that has just begun."""
        claim = json.loads((self.state / "locks/run").read_text())
        return {member["name"]: member["pid"] for member in claim["members"]}


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    shutil.copy(ROOT / "bin/tb-run", tmp_path)
    built = Installation(tmp_path)
    os.mkfifo(built.release)
    for name in STAGES:
        built.stage(name, COPY)
    yield built
    for started in built.running:
        started.terminate()  # its stages end with it
        started.communicate(timeout=60)


def first_line(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    return started.stdout.readline()


def ended(pidfds: list[int]) -> bool:
    """Wait for the processes to end; return False if none does for 20 seconds."""
    waiting = set(pidfds)
    while waiting:
        done, _, _ = select.select(list(waiting), [], [], 20)
        if not done:
            return False
        waiting -= set(done)
    for pidfd in pidfds:
        os.close(pidfd)
    return True


def test_the_summary_counts_what_a_carrier_did_once(installation: Installation) -> None:
    done = {
        "snapshot": {
            "id": "20261101T031600Z-base",
            "kind": "base",
            "parent": None,
            "source_size": 2_000_000,
            "stored_size": 500_000,
            "seconds": 1.5,
        },
        "uploaded": {
            "snapshots": ["20261101T031600Z-base"],
            "bytes": 500_000,
            "resumed": 100_000,
            "seconds": 1,
        },
        "removed": {"local": ["a", "b"], "s3": []},
    }
    disabled = record("secret", why="disabled")
    installation.discovers(record("users", **done), record("orders", **done), disabled)
    status, output, errors = installation.run()
    assert (status, errors) == (0, "")
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert "all is well with 3 objects" in lines
    assert "postgres 3 2 1" in lines
    assert "snapshots 1 base: 2 MB at the source, 500 kB stored" in lines
    assert "uploaded 1 snapshot: 500 kB, 100 kB of it earlier" in lines
    assert "removed 2 local" in lines


def test_quiet_says_nothing_when_all_is_well(installation: Installation) -> None:
    installation.discovers(record("users"))
    assert installation.run("--quiet") == (0, "", "")


def test_a_failure_of_a_carrier_is_printed_once_even_when_quiet(
    installation: Installation,
) -> None:
    installation.discovers(record("users", error=ERROR), record("orders", error=ERROR))
    status, output, _ = installation.run("-q")
    assert status == 1
    assert "2 of 2 objects failed" in output
    assert output.count("the bucket refuses the key; check s3_access_key") == 1


def test_the_summary_fits_a_terminal_of_80_columns(installation: Installation) -> None:
    long = {**ERROR, "message": f"{CARRIER}: " + "very " * 60 + "long"}
    left = record("users", todo=["synced_s3"], why="the server is a standby " * 10)
    installation.discovers(left, record("orders", error=long))
    _, output, _ = installation.run()
    assert max(map(len, output.splitlines())) <= 80


def test_what_nobody_did_is_named_with_its_reason(installation: Installation) -> None:
    installation.discovers(record("users", todo=["synced_s3"], why="the server is a standby"))
    status, output, _ = installation.run()
    assert status == 0
    assert "1 of 1 object left unfinished" in output
    assert f"{CARRIER}: the server is a standby" in output


def test_records_arrive_while_the_first_stage_still_works(installation: Installation) -> None:
    installation.discovers(record("users"), then=UNTIL_RELEASED)
    started = installation.start("--json")
    assert json.loads(first_line(started)) == record("users")
    installation.release.write_text("")
    assert started.communicate(timeout=60) == ("", "")
    assert started.returncode == 0


def test_options_reach_the_stages_they_concern(installation: Installation) -> None:
    for name in STAGES:
        note = f"import sys; open({str(installation.folder / (name + '.argv'))!r}, 'w')"
        installation.stage(name, f"{note}.write(' '.join(sys.argv[1:]))\n{COPY}")
    options = ("--env-file", "/dev/null", "--progress", "never")
    installation.run("-s", "lxd", "-s", "postgres/*", "--adopt", *options)
    given = {name: (installation.folder / f"{name}.argv").read_text() for name in STAGES}
    common = f"--config={installation.folder}/configuration.yaml --env-file=/dev/null"
    assert given == {
        "tb-discover": f"{common} --select=lxd --select=postgres/*",
        "tb-plan": common,
        "tb-snapshot": f"{common} --adopt --progress=never",
        "tb-upload": f"{common} --adopt --progress=never",
        "tb-rotate": f"{common} --adopt",
    }


def test_a_stage_that_was_killed_is_named_with_its_signal(installation: Installation) -> None:
    installation.discovers(record("users"))
    installation.stage("tb-upload", "import os; os.kill(os.getpid(), 9)")
    status, output, errors = installation.run()
    assert status == 1
    assert "tb-run: tb-upload was ended by SIGKILL\n" in errors
    assert "tb-upload was ended by SIGKILL" in output


def test_a_stage_that_was_killed_amid_a_line_is_a_failure(installation: Installation) -> None:
    installation.stage("tb-rotate", """print('{"v":1,"id', flush=True); import os; os.abort()""")
    status, output, errors = installation.run()
    assert status == 1
    assert "the run failed" in output
    assert "SIGABRT" in errors


def test_a_stage_that_broke_without_a_record_is_a_failure(installation: Installation) -> None:
    installation.stage("tb-plan", "raise SystemExit(1)")
    assert installation.run("-q")[0] == 1


@pytest.mark.parametrize(("stage", "status"), [("tb-plan", 78), ("tb-upload", 2)])
def test_a_stage_that_cannot_be_configured_decides(
    installation: Installation, stage: str, status: int
) -> None:
    installation.discovers(record("users", error=ERROR))
    installation.stage(stage, f"{COPY}; raise SystemExit({status})")
    assert installation.run()[0] == status


def test_69_is_for_runs_that_reached_nothing(installation: Installation) -> None:
    lost = {"v": 1, "id": "postgres", "type": "postgres", "error": ERROR}
    installation.discovers(lost, then="raise SystemExit(69)")
    assert installation.run()[0] == 69
    installation.discovers(lost, record("users"), then="raise SystemExit(69)")
    assert installation.run()[0] == 1


def test_an_unknown_action_is_a_usage_error(installation: Installation) -> None:
    status, output, errors = installation.run("--if-running", "murder")
    assert (status, output) == (2, "")
    assert "say skip, wait or kill" in errors


def test_an_incomplete_installation_is_a_sentence(installation: Installation) -> None:
    (installation.folder / "tb-upload").unlink()
    status, _, errors = installation.run()
    assert status == 1
    assert "tb-upload is missing; install three_backup again" in errors


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_signal_ends_every_stage(
    installation: Installation, number: signal.Signals, status: int
) -> None:
    installation.discovers(record("users"), then=UNTIL_RELEASED)
    started = installation.start("--json")
    first_line(started)
    stages = [os.pidfd_open(installation.members()[name]) for name in STAGES]
    started.send_signal(number)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == status
    assert "the next run goes on from here" in errors
    assert "Traceback" not in errors
    assert ended(stages)
    installation.discovers(record("users"))
    assert installation.run("-q") == (0, "", "")


def test_a_reader_that_goes_away_ends_the_run_quietly(installation: Installation) -> None:
    installation.discovers(record("users"), then=f"{UNTIL_RELEASED}\nprint('{{}}')")
    started = installation.start("--json")
    first_line(started)
    stages = [os.pidfd_open(installation.members()[name]) for name in STAGES]
    assert started.stdout is not None
    assert started.stderr is not None
    started.stdout.close()
    installation.release.write_text("")
    assert started.stderr.read() == ""
    assert started.wait(60) == 141
    assert ended(stages)


def test_a_closed_standard_output_is_refused_before_anything_is_done(
    installation: Installation,
) -> None:
    tool = (sys.executable, str(installation.folder / "tb-run"))
    done = subprocess.run(
        ("sh", "-c", 'exec "$@" >&-', "sh", *tool),
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 2
    assert b"standard output is closed" in done.stderr


def test_a_second_run_says_who_holds_the_lock(installation: Installation) -> None:
    installation.discovers(record("users"), then=UNTIL_RELEASED)
    first = installation.start("--json")
    first_line(first)
    status, output, errors = installation.run()
    assert (status, output) == (75, "")
    assert f"tb-run (process {first.pid}) since 20" in errors


def test_stages_that_outlive_tb_run_keep_the_lock(installation: Installation) -> None:
    installation.discovers(record("users"), then=UNTIL_RELEASED)
    first = installation.start("--json")
    first_line(first)
    stages = [os.pidfd_open(installation.members()[name]) for name in STAGES]
    first.kill()
    first.wait()
    status, _, errors = installation.run()
    assert status == 75
    assert "tb-discover (process" in errors
    installation.release.write_text("")
    assert ended(stages)
    installation.discovers(record("users"))
    assert installation.run("-q") == (0, "", "")


def test_a_run_that_is_too_old_is_killed_and_replaced(installation: Installation) -> None:
    installation.discovers(record("users"), then=UNTIL_RELEASED)
    first = installation.start("--json")
    first_line(first)
    stages = [os.pidfd_open(installation.members()[name]) for name in STAGES]
    installation.discovers(record("users"))
    status, _, errors = installation.run(
        "-q", options="    if_running: kill\n    kill_after: 0s\n"
    )
    assert status == 0
    assert f"ending the run of tb-run (process {first.pid})" in errors
    assert first.wait(60) == 143
    assert ended(stages)


def test_stages_beat_the_lock_of_the_run(installation: Installation) -> None:
    beat = "os.utime(os.environ['THREE_BACKUP_HEARTBEAT'], (7, 7))"
    installation.discovers(record("users"), then=f"{UNTIL_RELEASED}\n{beat}")
    started = installation.start("--json")
    first_line(started)  # tb-run has written its claim into the file, and beaten for this line
    installation.release.write_text("")
    assert started.wait(60) == 0
    assert (installation.state / "locks/run").stat().st_mtime == 7


def test_the_commands_of_the_operator_are_told_how_the_run_went(
    installation: Installation,
) -> None:
    told = installation.folder / "told"
    tell = f"sh -c 'echo $THREE_BACKUP_EVENT $THREE_BACKUP_STATUS >> {told}'"
    options = "".join(f"    on_{event}: {tell}\n" for event in ("start", "success", "failure"))
    installation.discovers(record("users"))
    assert installation.run("-q", options=options) == (0, "", "")
    installation.discovers(record("users", error=ERROR))
    assert installation.run("-q", options=options)[0] == 1
    assert told.read_text().splitlines() == ["start", "success 0", "start", "failure 1"]


def test_a_command_that_fails_changes_nothing_of_the_run(installation: Installation) -> None:
    installation.discovers(record("users"))
    status, _, errors = installation.run("-q", options="    on_success: sh -c 'exit 3'\n")
    assert status == 0
    assert "on_success: sh failed (exit status 3); the run itself is not concerned" in errors


def test_the_last_run_is_left_for_who_asks_for_the_status(installation: Installation) -> None:
    installation.discovers(record("users", error=ERROR))
    installation.run("-q", options=f"    prometheus_file: {installation.folder}/tb.prom\n")
    left = json.loads((installation.state / "last_run.json").read_text())
    assert left["status"] == 1
    assert left["carriers"][CARRIER]["why"].startswith(ERROR["message"])
    metrics = (installation.folder / "tb.prom").read_text()
    assert f'three_backup_failing{{carrier="{CARRIER}"}} 1' in metrics


def test_a_page_shows_the_run_before_the_hooks_are_told(installation: Installation) -> None:
    page, copied = installation.folder / "page.html", installation.folder / "copy.html"
    installation.discovers(record("users", error=ERROR))
    options = f"    html_file: {page}\n    on_failure: cp {page} {copied}\n"
    before = os.umask(0o027)
    try:
        assert installation.run("-q", options=options)[0] == 1
    finally:
        os.umask(before)
    assert page.stat().st_mode & 0o777 == 0o640
    assert "1 of 1 carrier in trouble" in copied.read_text()
    assert ": the bucket refuses the key; " in copied.read_text()


def test_a_page_that_cannot_be_written_does_not_fail_the_run(installation: Installation) -> None:
    installation.discovers(record("users"))
    page = installation.folder / "nowhere" / "page.html"
    status, _, errors = installation.run("-q", options=f"    html_file: {page}\n")
    assert status == 0
    assert f"tb-run: {page} does not show this run: " in errors


def test_a_page_whose_store_is_away_says_so(installation: Installation) -> None:
    page = installation.folder / "page.html"
    installation.discovers(record("users"))
    away = "    s3_endpoint: http://127.0.0.1:9\n    s3_bucket: b\n    s3_timeout: 1s\n"
    keys = "    s3_access_key: k\n    s3_secret_key: s\n"
    status, _, errors = installation.run(options=f"    html_file: {page}\n{away}{keys}")
    assert (status, "does not show this run" in errors) == (0, True)
    assert "How the backups stand is unknown" in page.read_text()
    assert "The last run ended" in page.read_text()


PULLED = {
    "v": 1,
    "id": CARRIER,
    "type": "postgres",
    "carrier": CARRIER,
    "wal": {"timeline": 1, "from": "0/0", "to": "0/1", "pieces": 1, "bytes": 1, "stored": 1},
}


def pulls(installation: Installation, *, status: int, **fields: object) -> None:
    """Let tb-wal note that it ran, print a record, and end with the status."""
    (installation.folder / "pg_dump").touch(mode=0o755)
    line, order = json.dumps({**PULLED, **fields}), str(installation.folder / "order")
    installation.stage(
        "tb-wal",
        f"import sys\nopen({order!r}, 'a').write(sys.argv[1] + '\\n')\n"
        f"print({line!r})\nraise SystemExit({status})\n",
    )
    installation.stage("tb-rotate", f"open({order!r}, 'a').write('stages\\n')\n{COPY}")


PULL = "- postgres/*:\n    wal: pull\n"


def order(installation: Installation) -> list[str]:
    return (installation.folder / "order").read_text().split()


@pytest.fixture
def pulling(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An installation where PostgreSQL is found."""
    monkeypatch.setenv("PATH", f"{installation.folder}{os.pathsep}{os.environ['PATH']}")
    installation.discovers(record("users"))
    return installation


def test_the_log_is_pulled_before_the_stages_and_after_them(pulling: Installation) -> None:
    pulls(pulling, status=0)
    status, output, _ = pulling.run("--json", options=PULL)
    assert status == 0
    assert order(pulling) == ["pull", "stages", "pull"]
    assert ["wal" in json.loads(line) for line in output.splitlines()] == [True, False, True]


@pytest.mark.parametrize(
    ("arguments", "options"), [(("-s", "lxd"), PULL), ((), ""), ((), f"{PULL}    disable: true\n")]
)
def test_the_log_is_not_pulled_unless_it_is_asked_for(
    arguments: tuple[str, ...], options: str, pulling: Installation
) -> None:
    pulls(pulling, status=1)
    status, _, _ = pulling.run(*arguments, options=options)
    assert status == 0
    assert order(pulling) == ["stages"]


def test_a_failed_pull_fails_the_run_and_is_told_once(pulling: Installation) -> None:
    pulls(pulling, status=1, error={**ERROR, "tool": "tb-wal"})
    status, output, _ = pulling.run("-q", options=PULL)
    assert status == 1
    assert order(pulling) == ["pull", "stages", "pull"]
    assert output.count(f"{CARRIER}: the bucket refuses the key") == 1
    assert "the run failed" in output


def test_a_pull_that_died_is_named(pulling: Installation) -> None:
    pulls(pulling, status=0)
    pulling.stage("tb-wal", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    status, output, errors = pulling.run(options=PULL)
    assert status == 1
    assert "tb-wal was ended by SIGKILL" in output
    assert "tb-wal was ended by SIGKILL" in errors


def test_a_pull_of_cron_that_is_at_work_is_no_failure(pulling: Installation) -> None:
    pulls(pulling, status=75)
    assert pulling.run(options=PULL)[0] == 0


SHOWS_ARGUMENTS = """
import json, sys
fields = {"code": "x", "tool": "tb-plan", "message": f"given {sys.argv[1:]}"}
print(json.dumps({"v": 1, "id": "postgres", "type": "postgres", "error": fields}))
raise SystemExit(1)
"""


@pytest.mark.parametrize("option", ["--base", "--incremental"])
@pytest.mark.parametrize("dry", [True, False])
def test_what_is_wanted_is_planned(installation: Installation, option: str, dry: bool) -> None:
    installation.stage("tb-plan", SHOWS_ARGUMENTS)
    arguments = (option, "--json", *(["--dry-run"] if dry else []))
    status, output, _ = installation.run(*arguments)
    assert (status, f"'{option}'" in output) == (1, True)
    status, output, _ = installation.run(*arguments[1:])
    assert (status, f"'{option}'" in output) == (1, False)


def test_a_dry_run_shows_the_plan_and_starts_no_other_stage(installation: Installation) -> None:
    for stage in STAGES[2:]:
        installation.stage(stage, "raise SystemExit('it was started')")
    why = "there is no snapshot yet"
    due = record("users", take="base", todo=["snapshot_base"], why=why)
    installation.discovers(due, record("secret", why="disabled"))
    status, output, errors = installation.run("--dry-run")
    assert (status, errors) == (0, "")
    assert output.splitlines()[1].split() == [
        CARRIER,
        "base",
        "there",
        "is",
        "no",
        "snapshot",
        "yet",
    ]
    assert "1 object: disabled" in output
    status, output, errors = installation.run("--dry-run", "--json")
    assert [json.loads(line)["id"] for line in output.splitlines()] == [
        record(name)["id"] for name in ("users", "secret")
    ]
    assert not installation.state.exists()


def test_a_dry_run_waits_for_no_other_run(installation: Installation) -> None:
    until = f"import os\nif {HEARTBEAT!r} in os.environ: {UNTIL_RELEASED.split('; ')[1]}"
    installation.discovers(record("users"), then=until)
    running = installation.start("--json")
    assert json.loads(first_line(running))["id"]
    assert installation.run()[0] == 75
    status, output, _ = installation.run("--dry-run")
    assert (status, output.splitlines()[0]) == (0, "nothing is to be done")
    installation.release.write_text("")
    running.communicate(timeout=60)
    assert running.returncode == 0


def test_a_dry_run_whose_stage_is_killed_says_so_and_fails(installation: Installation) -> None:
    installation.discovers(record("users", take="base", todo=["snapshot_base"]))
    installation.stage(
        "tb-plan", f"{COPY}; sys.stdout.flush(); import os; os.kill(os.getpid(), 9)"
    )
    status, output, errors = installation.run("--dry-run")
    assert (status, errors) == (1, "tb-run: tb-plan was ended by SIGKILL\n")
    assert output.startswith("OBJECT")


def test_a_dry_run_tells_what_failed(installation: Installation) -> None:
    error = {**ERROR, "tool": "tb-plan"}
    installation.discovers(record("users", error=error), record("orders"))
    status, output, _ = installation.run("--dry-run")
    assert status == 1
    assert "1 of 2 objects failed" in output
    assert "the bucket refuses the key; check s3_access_key" in output


def test_what_excludes_one_another_is_refused(installation: Installation) -> None:
    assert installation.run("--dry-run", "--quiet")[0] == 2
    assert installation.run("--base", "--incremental")[0] == 2
