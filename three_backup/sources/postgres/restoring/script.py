"""Reads a script in SQL as far as needed to say on which line something of it is. Pure."""

import re
from dataclasses import dataclass
from functools import cached_property

from three_backup.errors import BackupError, UsageError
from three_backup.sources.jobs import SqlFile

_ESCAPING = r"(?<![\w$])[eE]'(?:[^'\\]|''|\\.)*'"
_QUOTED = r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\""
_DOLLARS = r"(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$"
_TOKEN = re.compile(f"--[^\n]*|/\\*|{_ESCAPING}|{_QUOTED}|{_DOLLARS}", re.DOTALL)
_COMMENT_MARK = re.compile(r"/\*|\*/")
_NOT_BLANK = re.compile(r"\S")
_OF_ITS_OWN = re.compile(r"\batomic\b", re.IGNORECASE)
"""Begins a body that has semicolons of its own."""


@dataclass(frozen=True)
class Script:
    """A file of SQL statements."""

    file: SqlFile

    def check(self) -> None:
        """Raise UsageError if it is nothing for a server."""
        if "\0" in self.file.text:
            raise self._unfit(self.file.name, "it holds a zero byte, and so is no SQL")
        if (place := self._bare.find("\\")) >= 0:
            word = self.file.text[place:].split(maxsplit=1)[0]
            line = f"{self.file.name}, line {self.line(place)}"
            raise self._unfit(line, f"{word} is for psql, which does not run it")
        if not self._starts:
            raise self._unfit(self.file.name, "it holds no statement")

    def line(self, place: int) -> int:
        """Return the line of a place: how many characters are before it."""
        return self.file.text.count("\n", 0, place) + 1

    def line_of_statement(self, number: int) -> int | None:
        """Return the line on which a statement begins, counted from 0; None: not known."""
        if _OF_ITS_OWN.search(self._bare) or number >= len(self._starts):
            return None
        return self.line(self._starts[number])

    @cached_property
    def _starts(self) -> list[int]:
        found, start = list[int](), 0
        for piece in self._bare.split(";"):
            if first := _NOT_BLANK.search(piece):
                found.append(start + first.start())
            start += len(piece) + 1
        return found

    @cached_property
    def _bare(self) -> str:
        """The text with its comments blank, and something in place of what is quoted."""
        text, parts, done = self.file.text, list[str](), 0
        while token := _TOKEN.search(text, done):
            end = _end_of_comment(text, token.end()) if token[0] == "/*" else token.end()
            filler = " " if token[0].startswith(("--", "/*")) else "x"
            parts += (text[done : token.start()], filler * (end - token.start()))
            done = end
        return "".join((*parts, text[done:]))

    def _unfit(self, where: str, why: str) -> BackupError:
        return UsageError("postgres.script", f"{where}: {why}", "write statements of SQL")


def _end_of_comment(text: str, start: int) -> int:
    """Return where a comment ends, which may hold others."""
    depth = 1
    for mark in _COMMENT_MARK.finditer(text, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)
