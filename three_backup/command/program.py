"""What to run, as whom, and how to speak of its failure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is to be run.

    environment: on top of our own, None removes a variable; user: run as that user with none of
    our groups, in its name and from `/` unless cwd says otherwise. code, what: of the BackupError,
    what stands before its sentence; package: what to install where the program is missing; redact:
    takes secrets out of what the program printed on stderr; timeout: seconds after which `run`
    ends it, None for never.
    """

    argv: Sequence[str]
    environment: Mapping[str, str | None] = field(default_factory=dict)
    user: str | None = None
    cwd: Path | None = None
    code: str = "command.failed"
    what: str = ""
    package: str = ""
    redact: Callable[[str], str] = str
    timeout: float | None = None

    @property
    def name(self) -> str:
        return Path(self.argv[0]).name

    def about(self, sentence: str) -> str:
        """The sentence, after what it is about."""
        return f"{self.what}: {sentence}" if self.what else sentence
