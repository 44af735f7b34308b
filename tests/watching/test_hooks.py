"""Hooks and pings that report a run; their failures never spoil a backup."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from three_backup.watching.hooks import Event, Hooks

FACTS = {"headline": "all is well with 3 objects", "status": 0, "objects": 3, "taken": {"base": 1}}
Pings = list[tuple[str, str]]


@pytest.fixture
def pinged() -> Iterator[tuple[str, Pings]]:
    """A URL, and the list of what was sent to it: path and body."""
    pings: Pings = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            pings.append((self.path, body))
            self.send_response(404 if "gone" in self.path else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", pings
        server.shutdown()
        thread.join()


def said(hooks: Hooks, event: Event = Event.SUCCESS) -> list[str]:
    sentences: list[str] = []
    hooks.tell(event, FACTS, sentences.append)
    return sentences


def test_a_command_finds_what_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "hush")
    out = tmp_path / "out"
    script = f'{{ echo "$1:$THREE_BACKUP_EVENT:$THREE_BACKUP_OBJECTS:$PGPASSWORD"; cat; }} > {out}'
    hooks = Hooks({Event.SUCCESS: ("sh", "-c", script, "sh", "two words")})
    assert said(hooks) == []
    first, second = out.read_text().splitlines()
    assert first == "two words:success:3:"
    assert json.loads(second) == {"event": "success", **FACTS}


def test_only_the_command_of_the_event_is_run(tmp_path: Path) -> None:
    hooks = Hooks({Event.FAILURE: ("touch", str(tmp_path / "failed"))})
    assert said(hooks) == []
    assert not (tmp_path / "failed").exists()


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (
            ("sh", "-c", "echo no mail >&2; exit 3"),
            "on_success: sh failed (exit status 3): no mail",
        ),
        (("/nowhere/to/be",), "on_success: the program /nowhere/to/be is missing"),
        (("sleep", "1000"), "on_success: sleep did not end within 0.2 seconds and was ended"),
        (("true",), ""),
    ],
)
def test_a_command_that_fails_or_hangs_is_a_warning(argv: tuple[str, ...], sentence: str) -> None:
    warnings = said(Hooks({Event.SUCCESS: argv}, timeout=0.2 if "sleep" in argv else 60))
    assert [warning.startswith(sentence) for warning in warnings] == [True] * bool(sentence)


def test_the_url_is_pinged_as_healthchecks_reads_it(pinged: tuple[str, Pings]) -> None:
    url, pings = pinged
    hooks = Hooks(ping_url=f"{url}/secret/?rid=7")
    assert [said(hooks, event) for event in Event] == [[], [], []]
    headline = FACTS["headline"]
    assert pings == [
        ("/secret/start?rid=7", headline),
        ("/secret?rid=7", headline),
        ("/secret/fail?rid=7", headline),
    ]


def test_a_ping_that_fails_is_a_warning_that_does_not_give_the_url_away(
    pinged: tuple[str, Pings],
) -> None:
    for url in (f"{pinged[0]}/gone/s3cr3t", "http://127.0.0.1:9/s3cr3t"):
        (warning,) = said(Hooks(ping_url=url))
        assert warning.startswith("ping_url: 127.0.0.1 was not reached on success (")
        assert "s3cr3t" not in warning
