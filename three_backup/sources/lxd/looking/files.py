"""Asks the program that reads trees, in a mount namespace that ends with it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from three_backup import command, tree
from three_backup.command.life import own_work
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.tree.request import Answer, Kind, Request

_ALONE = ("unshare", "--mount", "--propagation", "private", "--")
_PACKAGE = Path(tree.__file__).parents[2]
# -P: no folder that we happen to be in is searched for modules.
_PYTHON = ("-P", "-X", "utf8", "-m", tree.__name__)
_FAILED = "tree.failed"
_REMEDIES = {
    "Operation not permitted": "run it as root: files are seen once they are mounted",
    "key not loaded": "load its key: zfs load-key",
}


@dataclass(frozen=True, slots=True)
class Read:
    """What the program answers."""

    kind: Kind
    folder: str
    bytes: BufferedIOBase


@contextmanager
def asked(object_id: ObjectId, request: Request) -> Iterator[Read]:
    """Ask during the block. Raises BackupError, also in the middle of the answer."""
    program = command.Program(
        (*_ALONE, sys.executable, *_PYTHON),
        {"PYTHONPATH": str(_PACKAGE)},
        cwd=Path("/"),
        code=_FAILED,
        package="util-linux",
        source=object_id.type,
        life=own_work,  # it may compare for hours what is equal
    )
    try:
        with command.stream(program, request.to_line()) as readable:
            answer = Answer.parse(readable.readline())
            if answer.kind is None:
                raise BackupError(answer.code, answer.message, answer.hint)
            yield Read(answer.kind, answer.folder, readable)
    except BackupError as error:
        raise _about(object_id, error) from error


def _about(object_id: ObjectId, error: BackupError) -> BackupError:
    """Return what the program says of a path, with the object in front."""
    if error.message.startswith(f"{object_id}: "):
        return error
    remedy = next((said for part, said in _REMEDIES.items() if part in error.message), "")
    code = f"{object_id.type}.{error.code.rpartition('.')[2]}"
    return BackupError(code, f"{object_id}: {error.message}", error.hint or remedy)
