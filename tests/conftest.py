"""The real servers that tests run on, each started by the first test that needs it; and the choice
of the tests to run."""

import os
import shutil
import signal
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import cache as cached
from itertools import count
from pathlib import Path

import hypothesis
import pytest

from tests.lab import cache, prometheus, whole_lxd
from tests.lab.forked import Forked, forked
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.prometheus import Promtool
from tests.lab.sample import DAEMONS, Sample, commit
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer
from three_backup.host import patience as host_patience

_BUCKETS = count(1)
_LXD = "THREE_BACKUP_TESTS_ON_LXD"
"""The variable by which a worker learns from the controller which tests on LXD run."""

_ON_LXD = ("tests/lxd/", *whole_lxd.CORE)
_outcomes = defaultdict[str, set[str]](set)
"""What came of the tests of each file."""

_TOGETHER = 12
_KINDS = 2
_RARE = (
    "tests/clickhouse/test_changes",
    "tests/clickhouse/test_crash",
    "tests/clickhouse/test_failures",
    "tests/clickhouse/test_restore",
    "tests/pipeline/test_as_of",
    "tests/pipeline/test_broken_chains",
    "tests/pipeline/test_cat",
    "tests/pipeline/test_clickhouse",
    "tests/pipeline/test_clock",
    "tests/pipeline/test_copied_host",
    "tests/pipeline/test_copies_watched",
    "tests/pipeline/test_copy",
    "tests/pipeline/test_diff",
    "tests/pipeline/test_encrypted",
    "tests/pipeline/test_examples",
    "tests/pipeline/test_failures",
    "tests/pipeline/test_fresh_",
    "tests/pipeline/test_hollow",
    "tests/pipeline/test_hostile",
    "tests/pipeline/test_init",
    "tests/pipeline/test_keep",
    "tests/pipeline/test_lacking",
    "tests/pipeline/test_locked",
    "tests/pipeline/test_mended",
    "tests/pipeline/test_moments",
    "tests/pipeline/test_nothing_matches",
    "tests/pipeline/test_odd_names",
    "tests/pipeline/test_on_terminal",
    "tests/pipeline/test_open",
    "tests/pipeline/test_orphans",
    "tests/pipeline/test_recovery_page",
    "tests/pipeline/test_replay_killed",
    "tests/pipeline/test_resources",
    "tests/pipeline/test_signed",
    "tests/pipeline/test_sql_before",
    "tests/pipeline/test_verify_between",
    "tests/pipeline/test_wal",
    "tests/pipeline/test_write_only",
    "tests/postgres/test_assembly",
    "tests/postgres/test_classes",
    "tests/postgres/test_drops",
    "tests/postgres/test_long_rows",
    "tests/postgres/test_moments",
    "tests/postgres/test_names",
    "tests/postgres/test_other_",
    "tests/postgres/test_restore",
    "tests/postgres/test_wal_",
    "tests/s3/test_answers",
    "tests/s3/test_hollow",
    "tests/s3/test_lasting",
    "tests/s3/test_ownership",
    "tests/s3/test_past",
    "tests/s3/test_surroundings",
    "tests/s3/test_theft",
    "tests/s3/test_undeletable",
    "tests/tools/test_quiet_run",
    "tests/tools/test_run_history",
)
_WITH_ALL = ("tests/packaging/test_debian_package", "tests/packaging/test_python_package")
"""Files that only a run of everything, or one that names them in full, does: they install packages
from the distribution and from the Python index."""

_LONGEST = (
    "tests/postgres/test_whole_cluster.py",
    "tests/pipeline/test_failures.py",
    "tests/pipeline/test_sweep.py",
    "tests/pipeline/test_faults.py",
    "tests/postgres/test_life.py",
    "tests/demo/test_story.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="everything, in place of a sample")
    parser.addoption(
        "--lxd", action="store_const", const="alone", default="", help="LXD's, what is not green"
    )
    parser.addoption("--seed", default="", help="draws the sample; default: the commit's hash")
    parser.addoption("--seeds", type=int, help="so many instants of kills and places of faults")


def pytest_configure(config: pytest.Config) -> None:
    """Let SIGTERM end the servers as Ctrl-C does; let no test fail because the machine is busy;
    choose which tests on LXD run."""
    hypothesis.settings.register_profile(
        "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("busy")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
    option = config.option
    option.seed = option.seed or commit()
    if "PYTEST_XDIST_WORKER" in os.environ:
        option.lxd = os.environ[_LXD]
    else:
        is_chosen = config.args_source is not config.ArgsSource.TESTPATHS or option.keyword
        if is_chosen:
            option.lxd = "chosen"
        elif not option.lxd:
            option.lxd = "all" if option.all else "core"
        os.environ[_LXD] = option.lxd


def pytest_report_header(config: pytest.Config) -> list[str]:
    return _left_out(config)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for line in _left_out(config):
        terminalreporter.write_line(line)


def _left_out(config: pytest.Config) -> list[str]:
    option = config.option
    lines = []
    if not option.all:
        lines.append(f"a sample, drawn by --seed {option.seed}; --all runs everything")
    if option.lxd == "core":
        lines.append("of the tests on LXD only the core")
        if pending := whole_lxd.pending():
            lines.append(f"not green with this code: {', '.join(sorted(pending))}")
            lines.append("tests/run --lxd does these files")
    return lines


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _outcomes[report.nodeid.partition("::")[0]].add(report.outcome)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember the files of tests on LXD that are green, if the run was not cut short."""
    option, is_worker = session.config.option, hasattr(session.config, "workerinput")
    is_whole = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    is_chosen = option.collectonly or option.maxfail or option.lxd == "chosen"
    if is_whole and not is_worker and not is_chosen:
        green = [file for file, outcomes in _outcomes.items() if outcomes == {"passed"}]
        whole_lxd.remember(file for file in green if file.startswith(_ON_LXD))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and not item.config.option.all:
        seed = f"--seed {item.config.option.seed}"
        report.sections.append(("sample", f"{seed} draws it again"))
    return report


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the tests to run. With `-n`, group those that must run on one worker: all that need
    the lab's machine, the tests of a file that share fixtures, and up to twelve of any other file.
    """
    chosen = items
    if not any("::" in argument for argument in config.args):
        sample = Sample.of(config)
        drawn = [
            item for item in items if config.option.all or not _path(item).startswith(_WITH_ALL)
        ]
        chosen = _some_kinds(sample, sample.drawn(drawn))
    if config.option.lxd == "alone":
        pending = whole_lxd.pending()
        chosen = [item for item in Sample.of(config).drawn(items) if _daemon(item)]
        chosen = [item for item in chosen if not pending or _path(item) in pending]
    elif config.option.lxd == "core":
        chosen = [item for item in chosen if not _daemon(item) or _path(item) in whole_lxd.CORE]
    config.hook.pytest_deselected(items=list(set(items) - set(chosen)))
    items[:] = sorted(chosen, key=_rank)
    shared = {_path(item) for item in items if _shares(item)}
    seen: Counter[str] = Counter()
    for item in items:
        file = _path(item)
        version = "18" if "postgres18" in item.name else ""
        part = 0 if file in shared else seen[file] // _TOGETHER
        seen[file] += 1
        daemon = _daemon(item)
        group = f"lab-{daemon}" if daemon else f"{file}{version}#{part}"
        item.add_marker(pytest.mark.xdist_group(group))


def _some_kinds(sample: Sample, items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Draw some rows of each table of kinds that are backed up and restored, and a quarter of what
    is tried of rare worlds.
    """
    tables = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if _path(item).startswith(_RARE):
            tables[_path(item)].append(item)
        elif hasattr(item, "callspec") and "taking" in getattr(item, "fixturenames", ()):
            tables[item.nodeid.partition("[")[0]].append(item)
    left_out = set[pytest.Item]()
    for table, rows in tables.items():
        most = -(-len(rows) // 4) if table.startswith(_RARE) and "::" not in table else _KINDS
        left_out |= set(rows) - set(sample.some(rows, most, table))
    return [item for item in items if item not in left_out]


def _rank(item: pytest.Item) -> int:
    """Order slow tests first: those on the lab's machines, one for a daemon, then _LONGEST."""
    return (
        -1
        if _daemon(item)
        else next(
            (rank for rank, file in enumerate(_LONGEST) if _path(item) == file), len(_LONGEST)
        )
    )


def _shares(item: pytest.Item) -> bool:
    """Whether the test uses a fixture that the tests of a file or a class share."""
    manager = item.session._fixturemanager
    found = [
        manager.getfixturedefs(name, item) or () for name in getattr(item, "fixturenames", ())
    ]
    return any(
        fixture.scope in ("module", "class") for definitions in found for fixture in definitions
    )


def _path(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _daemon(item: pytest.Item) -> str:
    """Return which of the lab's daemons the test needs, empty if none."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    named = (parameters.get(name) for name in ("lab", "server"))
    return next((value for value in named if value in DAEMONS), "")


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Restore the signal handlers after a test: a tool that runs within it sets its own, and later
    processes would inherit them."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.getsignal(number)) for number in numbers]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how many seconds a server may be silent within the test."""
    monkeypatch.setattr(host_patience, "_limits", [*host_patience._limits])
    monkeypatch.setattr(host_patience, "_silent", set())
    return lambda seconds: host_patience.configure(lambda _: seconds)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder with a short path, for sockets; PostgreSQL, which is not root, can traverse it."""
    folder = Path(tempfile.mkdtemp(prefix="tb-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def tools(server_folder: Path) -> Iterator[Forked]:
    """The tools, forked from one process, so that Python need not start for each."""
    with forked(server_folder / "forked") as tools:
        yield tools


@pytest.fixture(scope="session")
def postgres17(server_folder: Path) -> Iterator[PostgresServer]:
    with PostgresServer(server_folder / "17", 17) as server:
        yield server


@pytest.fixture(scope="session")
def postgres18(server_folder: Path) -> Iterator[PostgresServer]:
    with PostgresServer(server_folder / "18", 18) as server:
        yield server


@pytest.fixture(params=["postgres17", "postgres18"])
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """A server of each version in turn; the test runs once on each."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, PostgresServer)
    return server


@pytest.fixture(scope="session")
def clickhouse(server_folder: Path) -> Iterator[ClickhouseServer]:
    with ClickhouseServer(server_folder / "clickhouse") as server:
        yield server


@pytest.fixture(scope="session")
def seaweed(server_folder: Path) -> Iterator[SeaweedServer]:
    with SeaweedServer(server_folder / "s3") as server:
        yield server


@pytest.fixture(scope="session")
def labs(server_folder: Path) -> Iterator[Callable[[str], Lab]]:
    """Give the lab's daemons by name: LXD and Incus on ZFS in a machine, as they were built."""
    image = cache.ready()
    if image is None:
        pytest.skip("the LXD lab is not built; tests/run builds it")
    folder = server_folder / "lab"
    folder.mkdir()
    # An emulated machine takes longest: it and all that this worker starts from now on go first.
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    with Machine(folder, image) as machine:
        machine.resume()
        yield cached(lambda daemon: Lab(machine, folder, daemon))


@pytest.fixture(scope="session", params=DAEMONS)
def lab(request: pytest.FixtureRequest, labs: Callable[[str], Lab]) -> Lab:
    """Each of the lab's daemons in turn."""
    return labs(request.param)


@pytest.fixture
def bucket(seaweed: SeaweedServer) -> Iterator[str]:
    """A fresh bucket of `seaweed`, deleted with everything in it after the test."""
    name = f"bucket-{next(_BUCKETS)}"
    seaweed.create_bucket(name)
    yield name
    seaweed.delete_bucket(name)


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    folder = prometheus.programs()
    if folder is None:
        pytest.skip("promtool is missing (apt-get install prometheus)")
    return Promtool(folder)
