"""The real servers that tests run on, each started when the first test asks for it."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import hypothesis
import pytest

from tests.lab import cache
from tests.lab.lab import Lab
from tests.lab.machine import Machine
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.demo.seaweed import SeaweedServer
from three_backup.demo.servers import PostgresServer

_BUCKETS = count(1)


def pytest_configure() -> None:
    """SIGTERM ends the servers too, as Ctrl-C does; a busy machine is no failure of a test."""
    hypothesis.settings.register_profile(
        "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("busy")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=10, help="instants at which sweeps kill")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n`, a file stays with one worker and its servers; on version 18 with another.

    What needs the machine of the lab stays together, there is one, and takes longest: it is first.
    """
    items.sort(key=lambda item: not _needs_lab(item))
    for item in items:
        version = "18" if "postgres18" in item.name else ""
        group = f"{item.path.relative_to(item.session.path)}{version}"
        item.add_marker(pytest.mark.xdist_group("lab" if _needs_lab(item) else group))


def _needs_lab(item: pytest.Item) -> bool:
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return "lxd" in parameters or "lab" in getattr(item, "fixturenames", ())


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A tool that runs within a test sets handlers: whatever starts later would inherit them."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.getsignal(number)) for number in numbers]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder with a short path (sockets) that every user can pass (PostgreSQL is not root)."""
    folder = Path(tempfile.mkdtemp(prefix="tb-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


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
    """Runs the test once on every version."""
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
def lab(server_folder: Path) -> Iterator[Lab]:
    """LXD on ZFS in a machine, as it was when that was built."""
    image = cache.ready()
    if image is None:
        pytest.skip("the LXD lab is not built; tests/run builds it")
    folder = server_folder / "lab"
    folder.mkdir()
    with Machine(folder, image) as machine:
        machine.resume()
        yield Lab(machine, folder)


@pytest.fixture
def bucket(seaweed: SeaweedServer) -> Iterator[str]:
    """A fresh bucket of `seaweed`, deleted with everything in it after the test."""
    name = f"bucket-{next(_BUCKETS)}"
    seaweed.create_bucket(name)
    yield name
    seaweed.delete_bucket(name)
