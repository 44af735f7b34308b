"""The configuration of a restored data directory, and settings for its first start."""

import re
from collections.abc import Collection, Iterator, Mapping

from three_backup.sources.postgres.saved_configuration import SavedConfiguration

# They name paths of the old server: its data_directory would be started, not the restored one.
_PLACES = ("config_file", "data_directory", "external_pid_file", "hba_file", "ident_file")
_OF_PLACES = re.compile(
    rf"^(?=\s*(?:{'|'.join(_PLACES)}|include|include_dir|include_if_exists)\b)",
    re.MULTILINE | re.IGNORECASE,
)
_MINIMAL_HBA = (
    "# Made by tb-restore: that of the old server was not readable.\nlocal all all peer\n"
)
_RECOVERY = (
    "# Made by tb-restore: the first start ends on a timeline of its own, since what the old\n"
    "# server wrote after the snapshot is not here.\n"
    "restore_command = 'false'\n"
)
_LEFT_OUT = (
    "# Tables that were left out are empty; WAL that speaks of them must not stop recovery.\n"
    "ignore_invalid_pages = on\n"
)
_IN_PLACE = (
    "# Recovery takes tablespaces without a location for a mistake otherwise.\n"
    "allow_in_place_tablespaces = on\n"
)


def configuration_files(saved: SavedConfiguration) -> dict[str, str]:
    """Return the files, by name, to write where the data directory does not have them."""
    return {
        "postgresql.conf": "".join(_postgresql_conf(saved)),
        "pg_hba.conf": saved.files.get("pg_hba.conf", _MINIMAL_HBA),
        "pg_ident.conf": saved.files.get("pg_ident.conf", ""),
    }


def recovery_settings(*, recovers: bool, some_left_out: bool, some_in_place: bool) -> str:
    """Return what to append to `postgresql.auto.conf`.

    recovers: the first start becomes a recovery. some_in_place: there are tablespaces inside of
    the data directory, without a location.
    """
    return (
        (_RECOVERY if recovers else "")
        + (_LEFT_OUT if some_left_out else "")
        + (_IN_PLACE if some_in_place else "")
    )


def configuration_notes(saved: SavedConfiguration, written: Collection[str]) -> Iterator[str]:
    """Yield notes on the files written, given by name: those the data directory did not have."""
    made_up = sorted(set(written).difference(saved.files))
    if written:
        yield (
            "its configuration lay outside of the data directory and is inside now: look at "
            f"{', '.join(sorted(written))} before the first start"
        )
    if made_up:
        yield f"made anew, since it was not readable for the snapshot: {', '.join(made_up)}"


def _postgresql_conf(saved: SavedConfiguration) -> Iterator[str]:
    if "postgresql.conf" in saved.files:
        yield _OF_PLACES.sub("# tb-restore: ", saved.files["postgresql.conf"]).rstrip("\n") + "\n"
    yield "\n# Added by tb-restore: all that was set by a file when the snapshot was taken.\n"
    yield from _lines(saved.settings)


def _lines(settings: Mapping[str, str]) -> Iterator[str]:
    for name, value in settings.items():
        if name not in _PLACES:
            escaped = value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n")
            yield f"{name} = '{escaped}'\n"
