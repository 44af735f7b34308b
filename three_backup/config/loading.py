"""Finds and reads the configuration, and reports all mistakes in it at once."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from three_backup.config.configuration import Configuration
from three_backup.config.environment import BESIDE, FOR_RESTORES
from three_backup.config.options import OPTIONS, option_named
from three_backup.config.rules import Rule, kept_all_the_same, overridden, understand
from three_backup.config.sections import Mistake, Section, parse
from three_backup.config.stores import understand_stores, unknown_stores
from three_backup.errors import ConfigurationError
from three_backup.host.places import configuration_file, state_folder
from three_backup.model import layout
from three_backup.model.storage import Storage


def load(path: Path | None, environ: Mapping[str, str]) -> Configuration:
    """Return the configuration at path, else the one in the usual places, else the defaults.

    Raises ConfigurationError with every mistake in it, one a line.
    """
    found = path or configuration_file(environ)
    if found is None:
        defaults = host_storage(environ, os.geteuid(), os.uname().nodename)
        return Configuration(None, (), defaults)
    return understood(_text(found), found, environ)


def understood(text: str, found: Path, environ: Mapping[str, str]) -> Configuration:
    """Return the configuration that a text at this path is, or would be. Raises as load() does."""
    defaults = host_storage(environ, os.geteuid(), os.uname().nodename)
    sections, mistakes = parse(text)
    rules, more = understand([each for each in sections if not each.is_store], found.parent)
    stores, wrong = understand_stores([each for each in sections if each.is_store], found.parent)
    if every := [*mistakes, *more, *wrong, *unknown_stores(rules, stores)]:
        raise ConfigurationError("config.mistakes", _lines(found, every))
    warnings = tuple(_warnings(found, sections, rules))
    return Configuration(found, tuple(rules), defaults, warnings, tuple(stores))


def host_storage(environ: Mapping[str, str], user: int, host: str) -> Storage:
    """Return where snapshots lie unless the configuration says otherwise. user: 0 is root."""
    return Storage(local_dir=state_folder(environ, user), prefix=layout.path(host))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        raise ConfigurationError(
            "config.unreadable", f"{path}: {what}", "name another file with --config"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            "config.encoding", f"{path}: byte {error.start} is not UTF-8", "save it as UTF-8"
        ) from error


def _lines(path: Path, mistakes: Sequence[Mistake]) -> str:
    return "\n".join(f"{path}:{mistake.line}: {mistake.sentence}" for mistake in sorted(mistakes))


def _warnings(path: Path, sections: Sequence[Section], rules: Sequence[Rule]) -> Iterator[str]:
    for mistake in sorted([*overridden(rules), *kept_all_the_same(rules)]):
        yield f"{path}:{mistake.line}: {mistake.sentence}"
    for file in dict.fromkeys(_files_with_secrets(path, sections)):
        if os.access(file, os.F_OK) and file.stat().st_mode & stat.S_IROTH:
            yield f"{file}: it holds secrets and everybody may read it; chmod 600 {file}"


def _files_with_secrets(path: Path, sections: Sequence[Section]) -> Iterator[Path]:
    yield from (path.parent / name for name in (BESIDE, FOR_RESTORES))
    for entry in (entry for section in sections for entry in section.entries):
        named = option_named(entry.word)
        if named and OPTIONS[named[0]].secret:
            yield path.parent / Path(entry.text).expanduser() if named[1] else path
