"""Shows findings briefly: those that are good in one line."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from three_backup.model.findings import Finding, Mark, good
from three_backup.pipe import Invocation
from three_backup.screen.findings import finding_text
from three_backup.screen.terminal import Screen


class Telling:
    """Findings of one server. What is not good is shown at once, the rest with the block."""

    def __init__(self, write: Callable[[str], None], screen: Screen, heading: str) -> None:
        self._write, self._screen = write, screen
        self._good: list[str] = []
        self.worst: Finding | None = None  # the last one that is bad
        write(f"\n{heading}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._good and error is None:
            subjects = ", ".join(dict.fromkeys(self._good))
            self._write(finding_text(good("tried", subjects), self._screen))

    def tell(self, finding: Finding) -> None:
        if finding.mark is Mark.GOOD:
            self._good.append(finding.subject)
            return
        self._write(finding_text(finding, self._screen))
        if finding.mark is Mark.BAD:
            self.worst = finding


def screen_of(invocation: Invocation) -> Screen:
    return Screen(invocation.width, invocation.coloured)


def telling(invocation: Invocation, heading: str) -> Telling:
    return Telling(invocation.write, screen_of(invocation), heading)
