"""A real browser without a screen, spoken to over pipes by the protocol of its developer tools."""

import base64
import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_COMMANDS, _ANSWERS = 3, 4
"""The descriptors by which the browser hears and answers."""


def found() -> str | None:
    """Return the path of the browser; None if there is none on this machine."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Browser:
    """One page of a browser, loaded again and again."""

    def __init__(self, commands: BinaryIO, answers: BinaryIO) -> None:
        self._commands = commands
        self._answers = answers
        self._numbers = count(1)
        self._session: str | None = None
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def open(self, page: Path, width: int, *, dark: bool = False, height: int = 844) -> None:
        """Show a file on a screen so many pixels wide, of somebody who likes it dark or light."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        phone = width < 500
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        self._ask("Page.enable")
        self._ask("Page.navigate", url=page.as_uri())
        self._wait("Page.loadEventFired")

    def ask(self, script: str) -> Any:
        """Return the value of an expression in JavaScript."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self) -> bytes:
        """Return what is in sight as PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        for answer in self._messages():
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])
        raise EOFError("the browser has ended")

    def _wait(self, event: str) -> None:
        if not any(message.get("method") == event for message in self._messages()):
            raise EOFError("the browser has ended")

    def _messages(self) -> Iterator[dict[str, Any]]:
        begun = bytearray()
        while piece := self._answers.read(1):
            if piece != b"\0":
                begun += piece
                continue
            yield json.loads(begun)
            begun.clear()


@contextmanager
def browser(program: str, folder: Path) -> Iterator[Browser]:
    """Run a browser whose own files lie in the folder; all that it started ends with it."""
    heard, commands = map(_above, os.pipe())
    answers, said = map(_above, os.pipe())
    argv = [
        program,
        "--headless=new",
        "--no-sandbox",  # root has none
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--disable-lcd-text",
        "--no-first-run",
        "--remote-debugging-pipe",
        f"--user-data-dir={folder}",
        "about:blank",
    ]
    quiet = os.open(os.devnull, os.O_RDWR)
    pid = os.posix_spawn(
        program,
        argv,
        {**os.environ, "HOME": str(folder)},
        file_actions=[
            *((os.POSIX_SPAWN_DUP2, quiet, number) for number in range(3)),
            (os.POSIX_SPAWN_DUP2, heard, _COMMANDS),
            (os.POSIX_SPAWN_DUP2, said, _ANSWERS),
        ],
        setsid=True,
    )
    for descriptor in (heard, said, quiet):
        os.close(descriptor)
    try:
        with os.fdopen(commands, "wb") as to_it, os.fdopen(answers, "rb") as from_it:
            yield Browser(to_it, from_it)
    finally:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _above(descriptor: int) -> int:
    """Return a descriptor beyond those that the browser gets, for the same file."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ANSWERS + 1)
    os.close(descriptor)
    return copy
