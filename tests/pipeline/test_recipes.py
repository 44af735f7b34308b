"""The recipes of the pages for monitoring, each carried out as it is printed."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tests.house.test_pages import PAGES
from tests.lab.debian import debian, obstacle
from tests.pipeline.conftest import Host

_BLOCK = re.compile(r"^\.Bd -literal -offset indent\n(.*?)^\.Ed\n", re.MULTILINE | re.DOTALL)
_OUTPUT = re.compile(
    r"(OK|WARNING|CRITICAL) - [^|\n]+ \| (\S+=\S+(?: \S+=\S+)*)\n((?:[^|\n]+\n)*)"
)
_FIGURE = re.compile(r"([a-z_]+)=(\d+)(s|);;;0")
_AWAY = {"s3_endpoint": "http://127.0.0.1:9", "s3_timeout": "0s"}


def blocks(page: str, heading: str) -> list[str]:
    """Return the literal blocks of a section or a subsection, as mandoc prints them."""
    (text,) = (each.read_text() for each in PAGES if each.name == page)
    section = re.split(rf"^\.S[sh] {heading}\n", text, flags=re.MULTILINE)[1]
    section = re.split(r"^\.S[sh] ", section, flags=re.MULTILINE)[0]
    return [block.replace(r"\e", "\\") for block in _BLOCK.findall(section)]


def hooks() -> list[dict[str, str]]:
    """Return the options of the recipes for what is told at the end of a run."""
    loaded = [yaml.safe_load(block) for block in blocks("three_backup.yaml.5", "RECIPES")]
    return [section["*"] for (section,) in loaded]


@dataclass(frozen=True, slots=True)
class Service:
    """A service of others on this host: where it is, and what was sent to it."""

    url: str
    got: list[tuple[str, str]] = field(default_factory=list)  # paths and bodies


@contextmanager
def service() -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found.got.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Service(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def shop(host_of_module: Host) -> Host:
    host_of_module.execute("create table orders as select 1 as id")
    host_of_module.good("tb-run -q")
    return host_of_module


def test_healthchecks_learns_when_a_run_begins_and_how_it_ends(shop: Host) -> None:
    (ping_url,) = (each["ping_url"] for each in hooks() if "ping_url" in each)
    path = "/00000000-0000-0000-0000-000000000000"
    with service() as healthchecks:
        url = ping_url.replace("https://hc-ping.com", healthchecks.url)
        shop.configure(ping_url=url)
        shop.good("tb-run -q")
        shop.configure(ping_url=url, **_AWAY)
        assert shop.sh("tb-run -q").status != 0
    assert [where for where, _ in healthchecks.got] == [
        f"{path}{end}" for end in ("/start", "", "/start", "/fail")
    ]
    assert healthchecks.got[1][1] == "all is well with 1 object"


def test_apprise_tells_what_failed_and_nothing_where_all_is_well(shop: Host) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is missing (apt-get install jq)")
    (command,) = (each["on_failure"] for each in hooks() if "on_failure" in each)
    assert "/etc/apprise.conf" in command
    with service() as chat:
        services = shop.folder / "apprise.conf"
        services.write_text(f"{chat.url.replace('http', 'json')}/chat\n")
        command = json.dumps(command.replace("/etc/apprise.conf", str(services)))
        shop.configure(on_failure=command)
        assert shop.good("tb-run -q").stderr == ""
        assert chat.got == []
        shop.configure(on_failure=command, **_AWAY)
        outcome = shop.sh("tb-run -q")
        assert "on_failure" not in outcome.stderr
    ((_, body),) = chat.got
    message: dict[str, Any] = json.loads(body)
    assert message["title"].startswith("backups of ")
    assert "127.0.0.1:9" in message["message"]


def commands() -> list[list[str]]:
    """Return the command by which each kind of agent starts the plugin."""
    sudoers, icinga, nrpe = blocks("tb-status.1", "MONITORING")
    (listed,) = re.findall(r"^  command = (\[.*\])$", icinga, re.MULTILINE)
    return [
        ["sudo", *shlex.split(sudoers.partition("NOPASSWD: ")[2])],
        json.loads(listed),
        shlex.split(nrpe.partition("=")[2]),
    ]


def figures(stdout: str) -> dict[str, int]:
    """Return the figures of a plugin's output, all of which must be as its readers expect."""
    match = _OUTPUT.fullmatch(stdout)
    assert match is not None, stdout
    found = [_FIGURE.fullmatch(each) for each in match[2].split()]
    assert all(found), match[2]
    return {each[1]: int(each[2]) for each in found if each}


def test_icinga_and_nagios_start_what_sudo_allows_and_read_its_figures(shop: Host) -> None:
    first, *others = commands()
    assert all(other == first for other in others)
    assert first[:2] == ["sudo", "/usr/local/bin/tb-status"]
    shop.configure()
    shop.good("tb-run -q")
    plugin = shlex.join(("tb-status", *first[2:]))
    outcome = shop.good(plugin)
    found = figures(outcome.stdout)
    assert (found["objects"], found["warning"], found["critical"]) == (1, 0, 0)
    assert 0 <= found["upload_age"] < 600
    shop.configure(**_AWAY)
    away = shop.sh(plugin)
    assert (away.status, away.stdout.partition(" ")[0]) == (3, "UNKNOWN")


def test_what_is_wrong_is_told_before_the_figures(shop: Host) -> None:
    shop.configure(max_stage="mistaken")
    assert shop.sh("tb-status --nagios").stdout.startswith("UNKNOWN - tb-status: ")
    shop.configure()
    shop.good("tb-run -q")
    late = shop.sh("tb-status --nagios --max-age 0s")
    assert late.status == 2
    assert figures(late.stdout)["critical"] == 1
    assert late.stdout.count("\n") == 1
    assert ", which is too old | " in late.stdout
    both = shop.sh("tb-status --nagios --json")
    assert (both.status, both.stdout[:10]) == (3, "UNKNOWN - ")


def test_icinga_and_sudo_read_what_the_page_writes(
    server_folder: Path, pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.option.all:
        pytest.skip("Icinga is installed for it (--all)")
    if why := obstacle():
        pytest.skip(why)
    sudoers, icinga, _ = blocks("tb-status.1", "MONITORING")
    folder = server_folder / "icinga"
    folder.mkdir()
    with debian(folder) as host:
        install = "apt-get install -qq -y --no-install-recommends icinga2-bin sudo"
        host.good(f"apt-get update -qq; {install}; useradd nagios || true")
        (host.root / "root/sudoers").write_text(sudoers)
        host.good("visudo --check --strict --file=/root/sudoers")
        written = host.root / "tmp/icinga.conf"  # it runs as user nagios
        written.write_text(f"include <itl>\n{icinga}{_WATCHED}")
        read = "icinga2 daemon -C -c /tmp/icinga.conf 2>&1"
        assert "Instantiated 1 Service." in host.good(read)
        written.write_text(written.read_text().replace("check_interval", "check_intervall"))
        assert host.sh(read).status != 0


_WATCHED = """
object Host "db1" {
  check_command = "dummy"
  vars.backup = true
}
"""
