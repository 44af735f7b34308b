"""What a source needs before its first backup, as far as it can be found out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from three_backup.model.findings import Finding

ROLE = "backup"
"""The role or user that is proposed where the present login is refused."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """What was found of a server, and what it lacks."""

    found: Finding
    # How later runs log in, for .env: what our own environment says, or a login that is proposed.
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    # For an administrator of the server. A password stands in them as its hash.
    statements: tuple[str, ...] = ()
    client: str = ""  # the program that takes them, for people
    # Carries them out, where we may act for an administrator; None: we may not.
    act: Callable[[], object] | None = None
    answers: bool = True  # a server that can be backed up is there, if only to refuse us


class Prepared(Protocol):
    """A source that tells what a host lacks."""

    def prepare(self, environ: Mapping[str, str]) -> Preparation:
        """Look for the server, and find out what backups of it lack; nothing is changed.

        environ: of our process, in which PG* and CLICKHOUSE_* are looked for.
        """


def taken_over(environ: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """Return those of the variables that are set."""
    return {name: environ[name] for name in names if environ.get(name)}
