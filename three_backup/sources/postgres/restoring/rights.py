"""Checks the role's rights in the target; errors name the missing right and a remedy."""

import re
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.sources.postgres.connection import connect, database_of, quoted, user_of

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_MAY_CREATE_DATABASES = """
SELECT rolsuper OR rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user
"""
_MAY_CREATE_SCHEMAS = """
SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
"""
_MAY_CREATE_THERE = """
SELECT pg_catalog.has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace
 WHERE nspname = %s
"""
_MAY_DROP = """
SELECT pg_catalog.pg_has_role(relowner, 'USAGE'),
       CASE relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' ELSE 'table ' END
       || relname
  FROM pg_catalog.pg_class WHERE oid = %s
"""


def check_may_create_database() -> None:
    with connect() as connection:
        ((allowed,),) = connection.execute(_MAY_CREATE_DATABASES)
        if not allowed:
            raise may_not_write(connection, "permission denied to create database")


def check_may_load(target: "Connection") -> None:
    """Raise unless the role may create schemas: all that is restored gets its own at first."""
    ((allowed,),) = target.execute(_MAY_CREATE_SCHEMAS)
    if not allowed:
        raise may_not_write(target, f"permission denied for database {database_of(target)}")


def check_may_create_in(target: "Connection", schema: str) -> None:
    """Raise if the role may not create in the schema; a missing one will be the role's own."""
    if (False,) in target.execute(_MAY_CREATE_THERE, (schema,)):
        raise may_not_write(target, f"permission denied for schema {schema}")


def check_may_replace(target: "Connection", oid: int) -> None:
    """Raise unless the role owns the relation or is a member of its owner, so may drop it."""
    for allowed, name in target.execute(_MAY_DROP, (oid,)):
        if not allowed:
            raise may_not_write(target, f"must be owner of {name}")


def may_not_write(target: "Connection", refusal: str) -> BackupError:
    """Return the error for a refusal in the server's words."""
    role, database = quoted(user_of(target)), quoted(database_of(target))
    return BackupError(
        "postgres.may_not_write",
        f"PostgreSQL: role {role} may not do that in database {database}: {refusal}",
        "name a superuser or its owner in .env.restore beside the configuration, by PGUSER and "
        "PGPASSWORD" + _grant(refusal, database, role),
    )


def _grant(refusal: str, database: str, role: str) -> str:
    """Return the statement that would suffice instead, as an end of the hint, or nothing."""
    schema = re.search(r"for schema (.+)", refusal)
    if "for database" in refusal:
        return f", or GRANT CREATE ON DATABASE {database} TO {role}"
    if schema is not None:
        return f", or GRANT CREATE ON SCHEMA {schema[1]} TO {role}"
    if "to create database" in refusal:
        return f", or ALTER ROLE {role} CREATEDB"
    return ""
