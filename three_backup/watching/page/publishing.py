"""Writes the page. However many carriers there are, it stays small and takes few requests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from three_backup.errors import BackupError
from three_backup.host.durable import write_durably
from three_backup.host.rights import mode_for_others
from three_backup.watching.health import Level
from three_backup.watching.overview import Watch, WatchedCarrier, worst
from three_backup.watching.page.history import History, Reader
from three_backup.watching.page.standing import Standing

_CARDS, _ROWS = 40, 400
_REQUESTS = 200
"""The most manifests read from S3 for one page; once read they lie in the cache."""


@dataclass(frozen=True, slots=True)
class Page:
    """The page of what is watched. Every write replaces all of it, or nothing."""

    path: Path | None  # None: none is wanted
    watch: Watch
    host: str
    of_the_run: Sequence[str]  # sentences on what is wrong with the runs themselves

    def write(self, watched: Sequence[WatchedCarrier]) -> None:
        """Write how the carriers stand, the worst of which come first."""
        if self.path is not None:
            clock, grace = self.watch.clock, self.watch.patience.grace
            reader = Reader(clock, grace, _REQUESTS)
            ordered = sorted(watched, key=lambda each: each.gone or each.disabled)
            histories = [reader.history(each) for each in ordered[:_CARDS]]
            level = worst(watched, self.of_the_run)
            self._write(self._standing(level, ordered), histories)

    @contextmanager
    def even_of_a_failure(self) -> Iterator[None]:
        """Where it turns out that nothing can be told, have the page say that, and why."""
        try:
            yield
        except BackupError as error:
            with suppress(OSError):  # the error itself is what is told
                self._write(self._standing(Level.UNKNOWN, (), str(error)))
            raise

    def _standing(
        self, level: Level, watched: Sequence[WatchedCarrier], unknown: str | None = None
    ) -> Standing:
        watch = self.watch
        return Standing(
            self.host,
            watch.clock,
            level,
            watched,
            self.of_the_run,
            watch.last,
            watch.patterns,
            unknown,
        )

    def _write(self, standing: Standing, histories: Sequence[History] = ()) -> None:
        from three_backup.watching.page.document import document

        if self.path is not None:
            text = document(standing, histories, _ROWS)
            write_durably(self.path, text.encode(), mode_for_others())
