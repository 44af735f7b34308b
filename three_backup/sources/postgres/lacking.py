"""What a server has of all that backups need, and the statements that give it the rest."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.preflight import OLDEST, SUMMARIZE
from three_backup.sources.postgres.scram import verifier

_SALT_BYTES = 16
STATE = """
SELECT json_build_object(
  'server', current_setting('server_version'),
  'version', current_setting('server_version_num')::int,
  'summarizes', coalesce(current_setting('summarize_wal', true), 'off') = 'on',
  'wal_level', current_setting('wal_level'),
  'senders', current_setting('max_wal_senders')::int,
  'role', coalesce(r.rolname, ''),
  'replicates', coalesce(r.rolcanlogin AND (r.rolreplication OR r.rolsuper), false),
  'reads_settings', coalesce(pg_has_role(r.oid, 'pg_read_all_settings', 'USAGE'), false),
  'reads_files', pg_has_role('pg_read_all_settings', 'USAGE') AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_settings AS f JOIN pg_catalog.pg_settings AS d
          ON d.name = 'data_directory'
       WHERE f.name IN ('config_file', 'hba_file', 'ident_file')
         AND NOT starts_with(f.setting, d.setting || '/'))
    OR coalesce(pg_has_role(r.oid, 'pg_read_server_files', 'USAGE')
      AND has_function_privilege(r.oid, 'pg_catalog.pg_read_binary_file(text)', 'EXECUTE'), false),
  'closed', (SELECT coalesce(json_agg(datname ORDER BY datname), '[]')
               FROM pg_catalog.pg_database AS d
              WHERE datallowconn AND NOT CASE WHEN r.oid IS NULL
                THEN has_database_privilege('public', d.oid, 'CONNECT')
                ELSE has_database_privilege(r.oid, d.oid, 'CONNECT') END))::text
  FROM (SELECT {} AS name) AS asked
  LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = asked.name;
"""
"""A query for the JSON of a State; in braces goes an expression for the name of the role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a server has of all that backups by a role need; by default what nobody prepared."""

    server: str = ""  # its version, for people
    version: int = OLDEST * 10000  # `server_version_num`
    summarizes: bool = False
    wal_level: str = "replica"
    senders: int = 10
    role: str = ""  # empty: it does not exist
    replicates: bool = False
    reads_settings: bool = False
    reads_files: bool = False  # those of the configuration, or all lie in the data directory
    closed: tuple[str, ...] = ()  # databases that the role may not enter

    @property
    def too_old(self) -> bool:
        return self.version // 10000 < OLDEST

    @classmethod
    def parse(cls, text: str) -> Self:
        found = json.loads(text)
        return cls(**{**found, "closed": tuple(found["closed"])})


def lacking(state: State, role: str, password: str | None = None) -> Iterator[str]:
    """Yield the statements after which the role can back up the server.

    password: of a role that is to be made or to get it.
    """
    yield from _lacking_settings(state)
    yield from _lacking_rights(state, quoted(role), password)


def _lacking_settings(state: State) -> Iterator[str]:
    if state.wal_level == "minimal":
        yield "ALTER SYSTEM SET wal_level = replica;  -- then restart the server"
    if state.senders == 0:
        yield "ALTER SYSTEM SET max_wal_senders = 10;  -- then restart the server"
    if not state.summarizes:
        yield f"{SUMMARIZE};"


def _lacking_rights(state: State, name: str, password: str | None) -> Iterator[str]:
    if password is not None:
        verb = "ALTER" if state.role else "CREATE"
        secret = verifier(password, secrets.token_bytes(_SALT_BYTES))
        yield f"{verb} ROLE {name} LOGIN REPLICATION PASSWORD\n  '{secret}';"
    elif not state.replicates:
        yield f"ALTER ROLE {name} LOGIN REPLICATION;"
    if not state.reads_settings:
        yield f"GRANT pg_read_all_settings TO {name};"
    if not state.reads_files:
        yield f"GRANT pg_read_server_files TO {name};"
        yield f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text)\n  TO {name};"
    # Whoever may create databases chooses their names, and this is pasted into a shell.
    for database in filter(str.isprintable, state.closed):
        yield f"GRANT CONNECT ON DATABASE {quoted(database)} TO {name};"
