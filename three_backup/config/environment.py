"""Credentials of the sources from .env files, for clients that read their environment."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from three_backup.config.configuration import Configuration
from three_backup.errors import ConfigurationError

BESIDE = ".env"
FOR_RESTORES = ".env.restore"
"""Read by tools that restore, before the other: backups need fewer rights than restores."""
_PREFIXES = ("PG", "CLICKHOUSE_")


def environment_file(
    configuration: Configuration,
    path: Path | None,
    environ: Mapping[str, str],
    *,
    restores: bool = False,
) -> dict[str, str]:
    """Return the variables to add to environ: from path, else from .env beside the configuration.

    A tool that restores reads .env.restore there first. Only PG* and CLICKHOUSE_* count, and what
    is already set wins. Raises ConfigurationError where a file cannot be read.
    """
    found: dict[str, str] = {}
    for each in _files(configuration, path, restores=restores):
        for name, value in _variables(each).items():
            if name.startswith(_PREFIXES) and name not in environ:
                found.setdefault(name, value)
    return found


def _files(configuration: Configuration, path: Path | None, *, restores: bool) -> Iterator[Path]:
    """Yield the files to read; the first that has a variable decides on it."""
    if path is not None:
        yield path
    elif configuration.path is not None:
        names = (FOR_RESTORES, BESIDE) if restores else (BESIDE,)
        beside = (configuration.path.parent / name for name in names)
        yield from (each for each in beside if each.is_file())


def _variables(path: Path) -> dict[str, str]:
    from dotenv import dotenv_values

    try:
        with path.open(encoding="utf-8-sig") as file:
            # A password may hold ${: nothing is expanded.
            values = dotenv_values(stream=file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            "config.env_file", f"{path}: {str(what).lower()}", "name another file with --env-file"
        ) from error
    return {name: value for name, value in values.items() if value is not None}
