"""The servers of this host, what each of them lacks, and whether backups of it work."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from three_backup.deciding.discovery import reachable
from three_backup.errors import BackupError, UsageError
from three_backup.keeping import keeping_of
from three_backup.model.findings import Finding, Mark, bad
from three_backup.pipe import Invocation
from three_backup.pipe.asking import ask, can_ask
from three_backup.pipe.speech import complain
from three_backup.sources import SOURCES
from three_backup.sources.base import Source
from three_backup.sources.jobs import CheckJob
from three_backup.sources.preparing import Preparation

_NONE = "none"
_END = "END"


@dataclass(frozen=True, slots=True)
class Server:
    """A source of which a program is on this host, and its server."""

    source: Source
    preparation: Preparation

    @property
    def type(self) -> str:
        return self.source.type


def found(environ: Mapping[str, str]) -> list[Server]:
    """Return the sources whose programs are on PATH, with what is known of their servers."""
    return [Server(source, _prepared(source, environ)) for source in reachable(())]


def none_found() -> Finding:
    programs = ", ".join(source.programs[0] for source in SOURCES)
    sentence = f"none of {programs} is on PATH, so that there is nothing to back up"
    return Finding(Mark.NOTE, "sources", sentence, "install one of them, or set PATH")


def chosen(servers: Sequence[Server], given: Collection[str]) -> list[Server]:
    """Return the servers to back up: those given, else as a person says, else all that answer.

    Raises UsageError where a given one is not there.
    """
    proposed = [server.type for server in servers if server.preparation.answers]
    if given:
        return _named(servers, given)
    if not proposed or not can_ask():
        return _named(servers, proposed)
    while True:
        answer = ask(f"back up which of them, or {_NONE}", ", ".join(proposed))
        names = [name for name in answer.replace(",", " ").split() if name != _NONE]
        try:
            return _named(servers, names)
        except UsageError as error:
            complain(f"  {error.message}")


def statements(server: Server) -> str:
    """Return the lines that an administrator pastes into a shell."""
    lines = (f"{server.preparation.client} <<'{_END}'", *server.preparation.statements, _END)
    return "".join(f"{line}\n" for line in lines)


def check(invocation: Invocation, source: Source, tell: Callable[[Finding], None]) -> None:
    """Tell whether backups of the source work by the configuration, as tb-check does."""
    settings = invocation.configuration.source_settings(source.type)
    job = CheckJob(settings, invocation.clock())
    try:
        for finding in keeping_of(source.type).check(job, invocation.catalog(settings.storage)):
            tell(finding)
    except BackupError as error:
        tell(bad(source.type, error))


def _prepared(source: Source, environ: Mapping[str, str]) -> Preparation:
    try:
        return source.prepare(environ)
    except BackupError as error:
        return Preparation(bad(source.type, error), answers=False)


def _named(servers: Iterable[Server], names: Collection[str]) -> list[Server]:
    known = {server.type: server for server in servers}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError("init.source", _not_here(unknown[0], known), "see tb-init --help")
    return [server for name, server in known.items() if name in names]


def _not_here(name: str, known: Collection[str]) -> str:
    for source in SOURCES:
        if source.type == name:
            return f"{name}: {' or '.join(source.programs)} is not on PATH"
    return f"{name!r} is no source of this host; there are {', '.join(known) or 'none'}"
