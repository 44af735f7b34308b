"""Writes the first configuration of a host, as short as its example is long."""

from collections.abc import Collection, Mapping

from three_backup.config.options import words
from three_backup.config.yaml_text import yaml_scalar

_HEAD = """\
# Written by tb-init. Every option is told of in three_backup.yaml(5); tb-check tries all out,
# tb-plan --explain ID shows what holds for an object and why.
# Sections are merged from top to bottom, the lower one wins.

- "*":
{storage}

    # When: minute, hour, day of month, month, day of week, in the time zone of the host.
    base_schedule: 0 3 1 * *            # everything, on the first of the month
    incremental_schedule: 0 3 * * *     # what has changed, every night

    # How many of the newest are kept, with all that they need: on this host, and in S3.
    max_base_snapshots_local: 1
    max_incremental_snapshots_local: 3
    max_base_snapshots_s3: 3
    max_incremental_snapshots_s3: 40
    # keep_monthly: 12                  # besides, the newest of each of the last months

    # Who is told when a run fails.
    # on_failure: sh -c 'mail -s "$THREE_BACKUP_HEADLINE" root'
"""
_LEFT_OUT = """
# What is not backed up.
{sections}
"""
_TAIL = """
# What is to be different for some of it stands in sections below, such as:
# - postgres/table/shop/public/carts*:
#     disable: true
"""
_VARIABLES = """\
# Written by tb-init: how the tools log in at the servers. Who restores into them belongs into
# .env.restore beside this file: a superuser of PostgreSQL, a user of ClickHouse with more grants.
"""


def first_configuration(storage: Mapping[str, str], left_out: Collection[str] = ()) -> str:
    """Return the text of a configuration.

    storage: the options of "*" by their names, each value as the loader is to read it. left_out:
    the types of the sources that are not backed up.
    """
    names = sorted(storage, key=words().index)
    lines = [f"    {name}: {yaml_scalar(storage[name])}" for name in names]
    text = _HEAD.format(storage="\n".join(lines))
    if left_out:
        sections = "\n".join(f"- {name}:\n    disable: true" for name in left_out)
        text += _LEFT_OUT.format(sections=sections)
    return text + _TAIL


def first_environment(variables: Mapping[str, str]) -> str:
    """Return the text of a .env file with the variables."""
    return _VARIABLES + "".join(f"{name}={_quoted(value)}\n" for name, value in variables.items())


def _quoted(value: str) -> str:
    """Quote a value as the loader reads it: a break of lines needs the other quotes."""
    escaped = value.replace("\\", "\\\\")
    if {"\r", "\n"}.isdisjoint(value):
        return "'" + escaped.replace("'", "\\'") + "'"
    return '"' + escaped.replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n") + '"'
