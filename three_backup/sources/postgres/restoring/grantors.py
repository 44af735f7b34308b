"""Grants that others than the owner gave: who was given something may have given it on.

PostgreSQL lets nobody grant in the name of another role, so each is given as its grantor.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.target import attempt
from three_backup.sources.postgres.restoring.things import Grant, Thing, read_grants

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

_ROLE = "SELECT pg_catalog.current_setting('role')"


def in_order(grants: Iterable[Grant]) -> Iterator[Grant]:
    """Yield the grants, each after those that let its grantor give it."""
    waiting = sorted(grants, key=str)
    given = set[tuple[str | None, str, str | None]]()
    while waiting:
        ready = [
            one
            for one in waiting
            if one.grantor is None
            or not given.isdisjoint((one.grantor, one.privilege, on) for on in (None, one.column))
        ]
        ready = ready or waiting  # their grantors were given nothing that is among them
        yield from ready
        given |= {(one.grantee, one.privilege, one.column) for one in ready if one.grantable}
        waiting = [one for one in waiting if one not in ready]


def give_on(
    target: "Connection", thing: Thing, grants: Mapping[Grant, str]
) -> Iterator[tuple[Grant, str]]:
    """Run these statements as their grantors, in this order.

    Yields the grants that are not there then, with the reasons.
    """
    ((ourselves,),) = target.execute(_ROLE)
    refused = {}
    for grant, statement in grants.items():
        role = quoted(str(grant.grantor))
        let_in = f"GRANT USAGE ON SCHEMA {thing.stage} TO {role};" if thing.stage else ""
        given = f"SET LOCAL ROLE {role}; {statement}; SET LOCAL ROLE {quoted(ourselves)}"
        refused[grant] = attempt(target, f"{let_in} {given}")
    there = read_grants(target, [thing.target])[thing.target]
    for grant, why_not in refused.items():
        if grant not in there:
            yield grant, why_not or f"{quoted(str(grant.grantor))} has other rights here"
