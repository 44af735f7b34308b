"""Credentials of the sources from a .env file, for clients that read their environment."""

from collections.abc import Mapping
from pathlib import Path

from three_backup.config.configuration import Configuration
from three_backup.errors import ConfigurationError

BESIDE = ".env"
_PREFIXES = ("PG", "CLICKHOUSE_")


def environment_file(
    configuration: Configuration, path: Path | None, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables to add to environ: from path, else from .env beside the configuration.

    Only PG* and CLICKHOUSE_* count, and what is already set wins. Raises ConfigurationError where
    path cannot be read.
    """
    if path is None and configuration.path is not None:
        beside = configuration.path.parent / BESIDE
        path = beside if beside.is_file() else None
    if path is None:
        return {}
    return {
        name: value
        for name, value in _variables(path).items()
        if name.startswith(_PREFIXES) and name not in environ
    }


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
