"""Prints the words that complete one: KIND TYPED WORD..., the last of which are the whole line.

KIND is ids or snapshots. Whatever goes wrong, nothing is printed: a shell waits in the middle of
a line.
"""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from three_backup.completion.known import known, snapshots
from three_backup.completion.words import next_words
from three_backup.config import load
from three_backup.errors import BackupError, readable


def main(argv: Sequence[str]) -> int:
    if len(argv) < 2:
        return 2
    kind, typed, *line = argv
    try:
        found = _found(kind, typed, line)
        sys.stdout.write("".join(f"{readable(word)}\n" for word in found))
        sys.stdout.flush()
    except (BackupError, OSError):
        return 1
    return 0


def _found(kind: str, typed: str, line: Sequence[str]) -> list[str]:
    configuration = load(_configuration(line), os.environ)
    if kind == "ids":
        return next_words(typed, known(configuration).ids)
    named = [word for word in line if word.count("/") > 1 and not word.startswith(("-", "/", "."))]
    return [str(found) for found in snapshots(configuration, named)]


def _configuration(line: Sequence[str]) -> Path | None:
    for option, value in pairwise((*line, "")):
        if option in ("-c", "--config") and value not in ("", "="):
            return Path(value).expanduser()
        if option.startswith("--config="):
            return Path(option.partition("=")[2]).expanduser()
    return None


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
