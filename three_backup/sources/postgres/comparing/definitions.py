"""The definition of a relation on one side, as pg_dump writes it."""

from collections.abc import Sequence

from three_backup.command import run
from three_backup.model.objects import ObjectId
from three_backup.sources.postgres.comparing.sides import Side
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.scratch.binaries import Binaries

_SAYS_NOTHING = ("--", "SET ", "SELECT pg_catalog.set_config", "\\restrict", "\\unrestrict")


def definition(side: Side, binaries: Binaries, object_id: ObjectId) -> Sequence[str]:
    """Return the statements that make the relation, as lines."""
    name = f"{quoted(object_id.level2)}.{quoted(object_id.level3)}"
    dumped = side.program(
        binaries,
        "pg_dump",
        "--schema-only",
        f"--table-and-children={name}",
        database=object_id.level1,
    )
    lines = run(dumped).splitlines()
    return [line for line in lines if line and not line.startswith(_SAYS_NOTHING)]
