"""Gives what was restored to whom it belonged, with the grants that it had.

Owners and grants are read from the catalogs of the scratch server and given one by one, since
pg_dump's own statements fail as a whole where a single role is missing.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from three_backup.errors import BackupError
from three_backup.model.objects import AS_BYTES
from three_backup.sources.postgres.connection import quoted
from three_backup.sources.postgres.restoring.grantors import give_on, in_order
from three_backup.sources.postgres.restoring.target import attempt
from three_backup.sources.postgres.restoring.things import (
    Address,
    Grant,
    Thing,
    read_grants,
    read_owners,
)
from three_backup.sources.postgres.spelling import bytes_of

if TYPE_CHECKING:
    from three_backup.sources.postgres.connection import Connection

OWNER = "owner"
ACL = "acl"

_ROLES = "SELECT rolname::text, rolsuper FROM pg_roles WHERE textsend(rolname::text) = ANY(%s)"


@dataclass(frozen=True, slots=True)
class Giving:
    """Gives owners and grants in one database of the target; collects what could not be given."""

    scratch: "Connection"
    target: "Connection"
    kept: Collection[str]  # OWNER, ACL or both
    _lost: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _refused: list[str] = field(default_factory=list)

    def notes(self) -> Iterator[str]:
        for role, lost in sorted(self._lost.items()):
            yield f"{_no_role(role)}: {', '.join(sorted(lost))}"
        yield from dict.fromkeys(self._refused)

    def author(self, source: Address, name: str) -> str | None:
        """Return who shall create it, since that role's code may run meanwhile.

        None: whoever restores, who takes the code of superusers and their own for harmless. name:
        what it is called. Raises BackupError where that role is not here.
        """
        if OWNER not in self.kept:
            return None
        owner = read_owners(self.scratch, [source])[source]
        ((ourselves,),) = self.target.execute("SELECT current_user::text")
        is_superuser = self._roles([owner]).get(owner)
        if is_superuser is None:
            raise _not_its_own(name, owner, _no_role(owner))
        return None if is_superuser or owner == ourselves else owner

    def own(self, things: Sequence[Thing]) -> None:
        """Give them to their owners.

        Raises BackupError if something that runs with the rights of its owner cannot be its own.
        """
        own_all([(self, things)])

    def _own(
        self,
        things: Sequence[Thing],
        owners: Mapping[Address, str],
        present: Mapping[Address, str],
        roles: Mapping[str, bool],
    ) -> None:
        for thing in things:
            owner, is_now = owners[thing.source], present[thing.target]
            if thing.altered_as is None or owner == is_now:
                continue
            why_not = self._why_not_owned(thing, owner, roles)
            trusted = roles.get(owner, False)  # the code of a superuser harms nobody
            if why_not is not None and thing.runs_as_owner and not trusted:
                raise _not_its_own(thing.name, owner, why_not)
            if why_not is not None and owner in roles:
                self._refused.append(f"it cannot be given to {quoted(owner)}: {why_not}")
            elif why_not is not None:
                self._lost[owner].add(f"it belongs to {quoted(is_now)} now")

    def lend(self, things: Sequence[Thing], role: str) -> None:
        """Make the role the owner of all of them for a while."""
        present = read_owners(self.target, [thing.target for thing in things])
        for thing in things:
            if thing.altered_as is not None and present[thing.target] != role:
                statement = f"ALTER {thing.altered_as} {thing.name} OWNER TO {quoted(role)}"
                self.target.execute(statement.encode(*AS_BYTES))

    def grant(self, things: Sequence[Thing]) -> None:
        """Make their grants what they were."""
        grant_all([(self, things, {})])

    def _grant(
        self,
        things: Sequence[Thing],
        goals: Mapping[Address, set[Grant]],
        present: Mapping[Address, set[Grant]],
        roles: Collection[str],
    ) -> None:
        for thing in things:
            is_there = present[thing.target]
            goal = set(self._possible(goals[thing.target], roles))
            for grant in sorted(is_there - goal, key=str):
                self._say(thing, attempt(self.target, _revoke(thing, grant)))
            self._give(thing, [grant for grant in in_order(goal) if grant not in is_there])

    def _possible(self, goal: Iterable[Grant], roles: Collection[str]) -> Iterator[Grant]:
        """Yield the grants to roles that are here, by their owner where the grantor is not."""
        for grant in goal:
            if grant.grantee is not None and grant.grantee not in roles:
                self._lost[grant.grantee].add(f"it had {grant.privilege}")
            elif grant.grantor is None or grant.grantor in roles:
                yield grant
            else:
                self._lost[grant.grantor].add(f"it had granted {grant.privilege}")
                yield grant._replace(grantor=None)

    def _give(self, thing: Thing, grants: Sequence[Grant]) -> None:
        for grant in grants:
            if grant.grantor is None:
                self._say(thing, attempt(self.target, _grant(thing, grant)))
        passed_on = {grant: _grant(thing, grant) for grant in grants if grant.grantor}
        for grant, why_not in give_on(self.target, thing, passed_on) if passed_on else ():
            self._refused.append(
                f"what {quoted(str(grant.grantor))} had granted is granted by its owner: {why_not}"
            )
            self._say(thing, attempt(self.target, _grant(thing, grant)))

    def _why_not_owned(self, thing: Thing, owner: str, roles: Mapping[str, bool]) -> str | None:
        if owner not in roles:
            return _no_role(owner)
        statement = f"ALTER {thing.altered_as} {thing.name} OWNER TO {quoted(owner)}"
        return attempt(self.target, statement)

    def _say(self, thing: Thing, why_not: str | None) -> None:
        if why_not is not None:
            self._refused.append(f"a grant on {thing.name} is not as it was: {why_not}")

    def _roles(self, names: Iterable[str]) -> dict[str, bool]:
        """Return the roles that are here, and whether they are superusers."""
        spelt = [bytes_of(self.target, name) for name in sorted(set(names))]
        return dict(self.target.execute(_ROLES, (spelt,)).fetchall())


Added = Mapping[str, set[Grant]]
"""Grants beyond those of the snapshot, by the name of the thing."""


def own_all(shares: Sequence[tuple[Giving, Sequence[Thing]]]) -> None:
    """Give all things to their owners, each by its own giver; the catalogs are read once for all.

    Raises BackupError as Giving.own() does. The givers have the same two databases.
    """
    shares = [(giving, things) for giving, things in shares if OWNER in giving.kept and things]
    if not shares:
        return
    first, everything = shares[0][0], [thing for _, things in shares for thing in things]
    owners = read_owners(first.scratch, [thing.source for thing in everything])
    present = read_owners(first.target, [thing.target for thing in everything])
    roles = first._roles(owners.values())
    for giving, things in shares:
        giving._own(things, owners, present, roles)


def grant_all(shares: Sequence[tuple[Giving, Sequence[Thing], Added]]) -> None:
    """Make the grants of all things what they were, each by its own giver, as own_all() does."""
    shares = [
        (giving, granted, added)
        for giving, things, added in shares
        if ACL in giving.kept and (granted := [t for t in things if t.granted_on is not None])
    ]
    if not shares:
        return
    first = shares[0][0]
    everything = [thing for _, things, _ in shares for thing in things]
    added = {name: grants for _, _, more in shares for name, grants in more.items()}
    goals = _goals(first.scratch, first.target, everything, added)
    present = read_grants(first.target, [thing.target for thing in everything])
    roles = first._roles(
        role for goal in goals.values() for grant in goal for role in _named(grant)
    )
    for giving, things, _ in shares:
        giving._grant(things, goals, present, roles)


def _goals(
    scratch: "Connection", target: "Connection", things: Sequence[Thing], added: Added
) -> dict[Address, set[Grant]]:
    """Return the grants to end with; what the owner had goes to whoever owns it now."""
    wanted = read_grants(scratch, [thing.source for thing in things])
    owners = read_owners(scratch, [thing.source for thing in things])
    owners_now = read_owners(target, [thing.target for thing in things])
    return {
        thing.target: {
            _of_owner(grant, owners[thing.source], owners_now[thing.target])
            for grant in wanted[thing.source] | added.get(thing.name, set())
        }
        for thing in things
    }


def _of_owner(grant: Grant, owner: str, now: str) -> Grant:
    return grant._replace(
        grantee=now if grant.grantee == owner else grant.grantee,
        grantor=None if grant.grantor == now else grant.grantor,
    )


def _named(grant: Grant) -> Iterator[str]:
    yield from (role for role in (grant.grantee, grant.grantor) if role is not None)


def _grant(thing: Thing, grant: Grant) -> str:
    option = " WITH GRANT OPTION" if grant.grantable else ""
    return f"GRANT {_what(thing, grant)} TO {_whom(grant)}{option}"


def _revoke(thing: Thing, grant: Grant) -> str:
    return f"REVOKE {_what(thing, grant)} FROM {_whom(grant)} CASCADE"


def _what(thing: Thing, grant: Grant) -> str:
    column = "" if grant.column is None else f" ({quoted(grant.column)})"
    return f"{grant.privilege}{column} ON {thing.granted_on} {thing.name}"


def _whom(grant: Grant) -> str:
    return "PUBLIC" if grant.grantee is None else quoted(grant.grantee)


def _no_role(name: str) -> str:
    return f"there is no role {quoted(name)} here"


def _not_its_own(name: str, owner: str, why_not: str) -> BackupError:
    return BackupError(
        "postgres.no_owner",
        f"PostgreSQL: {name} runs code with the rights of its owner {quoted(owner)}, and "
        f"cannot be given to it ({why_not})",
        f"CREATE ROLE {quoted(owner)} or restore as a superuser; or trust that code with your own "
        "rights (--no-owner)",
    )
