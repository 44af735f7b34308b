"""The files of a configuration that is to be made: none that is there is changed."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from three_backup.config.environment import BESIDE
from three_backup.errors import ConfigurationError
from three_backup.host.durable import create_durably
from three_backup.host.places import FOR_ALL, configuration_file, own_configuration

KEY = "three_backup.key"


@dataclass(frozen=True, slots=True)
class Files:
    """Where the files of a configuration lie: beside one another."""

    configuration: Path

    @classmethod
    def of(cls, given: Path | None, environ: Mapping[str, str], user: int) -> Self:
        """Return the place that --config gives, else the one where this user's tools look.

        user: 0 is root. Raises ConfigurationError if a configuration is there already.
        """
        place = given or own_configuration(environ, user)
        files = cls(Path(os.path.abspath(place)))  # noqa: PTH100 - links stay as they are written
        # One that is found first would hide it.
        found = configuration_file(environ) if given is None and user == 0 else None
        there = [each for each in (place, found) if each is not None and os.path.lexists(each)]
        if there:
            raise ConfigurationError(
                "config.exists",
                f"{there[0]}: a configuration is there already, and nothing was changed",
                "try it out with tb-check, or name another file with --config",
            )
        files._require_folder()
        return files

    @property
    def environment(self) -> Path:
        return self.configuration.with_name(BESIDE)

    @property
    def key(self) -> Path:
        return self.configuration.with_name(KEY)

    @property
    def is_for_all(self) -> bool:
        """Whether every tool that root starts finds the configuration by itself."""
        return self.configuration == FOR_ALL

    def require_variables(self, wanted: Mapping[str, str], known: Mapping[str, str]) -> None:
        """Raise ConfigurationError if there is a .env that lacks some of the variables."""
        lacking = [name for name, value in wanted.items() if known.get(name) != value]
        if lacking and os.path.lexists(self.environment):
            raise ConfigurationError(
                "config.exists",
                f"{self.environment}: it is there already, but says nothing of "
                f"{', '.join(lacking)}",
                "add that, or move the file away",
            )

    def write(self, bodies: Mapping[Path, str]) -> None:
        """Make the files in this order, each whole and for its owner alone.

        If one cannot be made, none stays. Raises OSError, ConfigurationError.
        """
        self.configuration.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made: list[Path] = []
        try:
            for path, body in bodies.items():
                _create(path, body)
                made.append(path)
        except BaseException:
            for path in made:
                path.unlink()
            raise

    def _require_folder(self) -> None:
        """Raise ConfigurationError if the files could not be made: before anybody is asked."""
        folder = self.configuration.parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigurationError(
                "config.unwritable",
                f"{folder}: no file can be made there",
                "run tb-init as another user, or name another file with --config",
            )


def _create(path: Path, body: str) -> None:
    try:
        create_durably(path, body.encode())
    except FileExistsError as error:
        raise ConfigurationError(
            "config.exists",
            f"{path}: somebody made it meanwhile, and nothing was written",
            "run tb-init again",
        ) from error
