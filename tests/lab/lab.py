"""A machine of the lab that runs, and the programs of this host that reach into it."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.machine import Machine

_PROGRAMS = ("lxc", "zfs", "zpool")
_PROGRAM = """\
#!/bin/sh
exec {python} -I -S {stand_in} {config} {calls} {program} "$@"
"""


class Lab:
    """bindir: to be first on PATH; its programs are those of the machine."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.bindir = folder / "bin"
        self._machine = machine
        self._calls = folder / "calls"
        self.bindir.mkdir()
        for name in _PROGRAMS:
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

    def sh(self, line: str, input: str | bytes | None = None) -> str:
        """What a shell line of root prints in the machine; raises BackupError where it fails."""
        return self._machine.ssh(line, input)

    def rewind(self) -> None:
        """Make the machine again what it was when it was built."""
        self._machine.rewind()

    @contextmanager
    def calls(self) -> Iterator[list[list[str]]]:
        """The command lines of `lxc`, `zfs` and `zpool` while the block runs, known at its end."""
        seen: list[list[str]] = []
        before = len(self._logged())
        yield seen
        seen += self._logged()[before:]

    def _logged(self) -> list[list[str]]:
        if not self._calls.exists():
            return []
        return [json.loads(line) for line in self._calls.read_text().splitlines()]
