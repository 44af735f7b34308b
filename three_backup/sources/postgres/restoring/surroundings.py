"""Labels and default grants of a table, outside its definition; losses noted."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.family import Family
from three_backup.sources.postgres.restoring.target import attempt

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_LABELS = """
SELECT provider, format('SECURITY LABEL FOR %%I ON %%s %%s IS %%L',
                        provider, upper(objtype), objname, label)
  FROM pg_seclabels WHERE classoid = 'pg_class'::regclass AND objoid = ANY(%s::oid[]) ORDER BY 2
"""
_DEFAULT_GRANTS = """
SELECT DISTINCT n.nspname::text
  FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace
  JOIN pg_roles r ON r.oid = d.defaclrole
 WHERE n.nspname = ANY(%s) AND d.defaclobjtype = 'r' AND r.rolname = current_user ORDER BY 1
"""


def add_labels(scratch: "Connection", target: "Connection", family: Family) -> Iterator[str]:
    """Add the security labels, once names are final on both servers; yield notes on failures."""
    labels = scratch.execute(_LABELS, ([part.oid for part in family.members],)).fetchall()
    for provider, statement in labels:
        why_not = attempt(target, statement)
        if why_not is not None:
            yield f"a security label of {provider} is not there: {why_not}"


def default_grants(
    target: "Connection", family: Family, options: Collection[str]
) -> Iterator[str]:
    """Yield notes on default grants: they are for tables made in a schema, ours is moved there."""
    if "acl" in options:
        return
    schemas = sorted({table.target.schema for table in family.tables})
    for (schema,) in target.execute(_DEFAULT_GRANTS, (schemas,)):
        yield (
            f"the default grants of schema {quoted(schema)} do not apply to it: grant by hand, "
            "or bring back its own (without --no-acl)"
        )
