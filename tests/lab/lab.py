"""The running machine of the lab, and programs on this host that run inside it."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.machine import Machine
from tests.lab.words import Words

_PROGRAM = """\
#!/bin/sh
exec {python} -I -S {stand_in} {config} {calls} {program} "$@"
"""


class Lab:
    """One daemon of a running machine, with stand-ins for the machine's programs.

    daemon: `lxd` or `incus`. Tests speak of LXD; see words.py.
    """

    def __init__(self, machine: Machine, folder: Path, daemon: str = "lxd") -> None:
        self.words = Words(daemon)
        self.bindir = folder / f"bin-{daemon}"  # must come first on PATH; holds the stand-ins
        self._machine = machine
        self._calls = folder / f"calls-{daemon}"
        self.bindir.mkdir()
        for name in (self.words.client, "zfs", "zpool", "unshare"):
            program = self.bindir / name
            program.write_text(
                _PROGRAM.format(
                    python=shlex.quote(sys.executable),
                    stand_in=shlex.quote(str(Path(__file__).with_name("stand_in.py"))),
                    config=shlex.quote(str(machine.ssh_config)),
                    calls=shlex.quote(str(self._calls)),
                    program=name,
                )
            )
            program.chmod(0o755)

    def sh(self, line: str, given: str | bytes | None = None) -> str:
        """Run a shell line as root in the machine, and return what it prints.

        Raises BackupError where it fails.
        """
        return self.words.common(self._machine.ssh(self.words.own(line), given))

    def rewind(self) -> None:
        """Reset the machine to the state in which it was built."""
        self._machine.rewind()

    @contextmanager
    def calls(self) -> Iterator[list[list[str]]]:
        """Yield a list that holds, after the block, the calls of stand-ins in it."""
        seen: list[list[str]] = []
        before = len(self._logged())
        yield seen
        seen += self._logged()[before:]

    def _logged(self) -> list[list[str]]:
        if not self._calls.exists():
            return []
        return [json.loads(line) for line in self._calls.read_text().splitlines()]
