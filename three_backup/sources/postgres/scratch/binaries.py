"""Find the server programs that a restore runs, of the major version that was backed up."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from three_backup.command import Program, own_work, run
from three_backup.errors import BackupError

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_NEEDED = (
    "postgres",
    "pg_ctl",
    "pg_controldata",
    "pg_combinebackup",
    "pg_waldump",
    "pg_dump",
    "pg_restore",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder that has every program a restore needs, all of one major version."""

    folder: Path
    major: int

    def __getitem__(self, name: str) -> str:
        return str(self.folder / name)


def worker(argv: Sequence[str], user: str | None = None, code: str = "command.failed") -> Program:
    """Return a program of PostgreSQL that works on files, mostly without a word."""
    return Program(argv, user=user, code=code, what="postgres", source="postgres", life=own_work)


def find_binaries(
    major: int,
    configured: Path | None,
    environment: Mapping[str, str],
    system: Path = Path("/usr/lib/postgresql"),
) -> Binaries:
    """Return the first fitting folder: `pg_bindir`, `pg_config --bindir`, the system's, PATH.

    Raises BackupError if none fits, with the reason for each.
    """
    seen: list[str] = []
    for folder in dict.fromkeys(_folders(major, configured, environment, system)):
        why_not = _unfit(folder, major)
        if why_not is None:
            return Binaries(folder, major)
        seen.append(f"{folder} {why_not}")
    raise BackupError(
        "postgres.binaries",
        f"postgres: the server programs of PostgreSQL {major} are not on this host"
        + (f" ({'; '.join(seen)})" if seen else ""),
        f"install the package postgresql-{major} (postgresql{major}-server), or set pg_bindir to "
        "the folder of its programs",
    )


def _folders(
    major: int, configured: Path | None, environment: Mapping[str, str], system: Path
) -> Iterator[Path]:
    if configured is not None:
        yield configured
    path = environment.get("PATH")
    pg_config = shutil.which("pg_config", path=path)
    if pg_config is not None:
        with suppress(BackupError):  # Debian's wrapper fails where no headers are installed
            yield Path(run(Program([pg_config, "--bindir"])).strip())
    yield system / str(major) / "bin"
    postgres = shutil.which("postgres", path=path)
    if postgres is not None:
        yield Path(postgres).parent


def _unfit(folder: Path, major: int) -> str | None:
    """Explain why the folder does not fit; None if it does."""
    if not (folder / "postgres").exists():
        return "has no server"
    try:
        said = run(Program([str(folder / "postgres"), "--version"]))
    except BackupError as error:
        return f"cannot be used ({error.message})"
    version = _VERSION.search(said)
    if version is None or int(version[1]) != major:
        return f"has {said.strip()}"
    missing = [name for name in _NEEDED if not (folder / name).exists()]
    return f"lacks {', '.join(missing)}" if missing else None
