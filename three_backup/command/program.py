"""A program to run: its arguments, its user, and how its failure is reported."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from three_backup.host.patience import Pulse


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run."""

    argv: Sequence[str]
    # On top of our own environment; None removes a variable.
    environment: Mapping[str, str | None] = field(default_factory=dict)
    # Run as this user: without our groups, with its HOME, USER and LOGNAME.
    user: str | None = None
    cwd: Path | None = None  # None: `/` if user is set, else ours
    code: str = "command.failed"  # of the BackupError
    what: str = ""  # stands before the sentence of the BackupError
    package: str = ""  # to install if the program is missing
    redact: Callable[[str], str] = str  # removes secrets from what the program printed on stderr
    timeout: float | None = None  # seconds after which `run` ends it, whatever it does
    # Whose server_timeout says how long it may move no byte; "": what stands under "*".
    source: str = ""
    # Given its process number, tells of other signs of life than bytes; None: there are none.
    life: Callable[[int], Pulse | None] | None = None

    @property
    def name(self) -> str:
        return Path(self.argv[0]).name

    @property
    def called(self) -> str:
        """Return its name with its command, such as `zfs send`."""
        words = (word for word in self.argv[1:2] if re.fullmatch("[a-z]+", word))
        return " ".join((self.name, *words))

    def about(self, sentence: str) -> str:
        """Return the sentence with what it is about in front."""
        return f"{self.what}: {sentence}" if self.what else sentence
