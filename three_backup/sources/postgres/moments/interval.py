"""The WAL between two snapshots: what was dropped in it, and what that was called.

WAL knows oids, not names. The catalogs of the snapshot tell most names. Where a relation was made
or altered since, its name is looked up in the catalogs as they were just before the drop.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from three_backup.model.objects import can_match_below, escape, has_wildcard, matches
from three_backup.model.snapshots import Manifest
from three_backup.sources.jobs import Landing, MomentJob
from three_backup.sources.postgres.moments.look import Existing, existing_then
from three_backup.sources.postgres.relations import TYPE
from three_backup.sources.postgres.replaying.landing import landing_before
from three_backup.sources.postgres.replaying.scan import Change, Commit, DroppedDatabase

_MOST_LOOKS = 24
"""Looks at catalogs, each of which costs a replay; what is not known after them is left out."""

_FIRST_OF_USERS = 16384
_EVERYTHING = f"{TYPE}/*"

Key = tuple[int, int]
"""The oids of a database and of a relation in it."""

_Look = Mapping[Key, Existing]


class Interval:
    """The WAL from a snapshot on, and what is known of the names in it."""

    def __init__(
        self, job: MomentJob, manifest: Manifest, begin: int, end: int, changes: Sequence[Change]
    ) -> None:
        self.manifest = manifest
        self._job, self._begin, self._end, self._changes = job, begin, end, changes
        self._looks: dict[int, _Look] = {}
        self._after: int | None = None  # see _newest
        self._elsewhere: set[int] = set()  # databases in which nothing can match
        self._mentions: dict[int, list[int]] = {}  # the positions of commits, by oid
        for change in changes:
            if isinstance(change, Commit):
                for oid in change.invalidated | {oid for _, oid in change.dropped}:
                    self._mentions.setdefault(oid, []).append(change.position)

    def last_drop(self, pattern: str) -> int | None:
        """Return the position of the last change that took away what the pattern selects."""
        self._elsewhere = self._databases_elsewhere(pattern)
        for took in (self._took_relation, self._took_view, self._took_rows):
            sure = self._newest(took, pattern, None)
            # After that drop the name was free: only what was made or renamed since can have it.
            newer = self._newest(took, pattern, self._begin if sure is None else sure)
            if newer is not None or sure is not None:
                return newer if newer is not None else sure
        return None

    def _newest(
        self, took: Callable[[Change, str], bool], pattern: str, after: int | None
    ) -> int | None:
        """Return the position of the newest change that took it.

        after: of changes after this position, and with looks; None: of all, without looks.
        """
        self._after = after
        for change in reversed(self._changes):
            if after is not None and change.position <= after:
                return None
            if took(change, pattern):
                return change.position
        return None

    def _took_relation(self, change: Change, pattern: str) -> bool:
        if isinstance(change, DroppedDatabase):
            return self._took_database(change, pattern)
        # Without files it is a view or a partitioned table; or a temporary one, made since.
        is_named = bool(change.files) or _may_be_a_view(pattern)
        keys = [key for key in change.dropped if is_named or key in self._first]
        return self._selects(pattern, keys, change.position)

    def _took_database(self, change: DroppedDatabase, pattern: str) -> bool:
        if change.oid in self._elsewhere or self._after is None:
            return False
        return any(
            database == change.oid and matches(pattern, str(there.carried.id))
            for (database, _), there in self._at(change.position).items()
        )

    def _took_view(self, change: Change, pattern: str) -> bool:
        """Tell whether it dropped a view: it is the last commit to name it, and it is gone."""
        if not isinstance(change, Commit) or not _may_be_a_view(pattern):
            return False
        dropped = {oid for _, oid in change.dropped}
        last = [
            oid
            for oid in change.invalidated - dropped
            if oid >= _FIRST_OF_USERS and self._mentions[oid][-1] == change.position
        ]
        gone = [key for key in self._keys(last) if key not in self._last] if last else []
        return self._selects(pattern, gone, change.position)

    def _took_rows(self, change: Change, pattern: str) -> bool:
        """Tell whether it truncated a table: a rewrite drops a relation besides the files."""
        if not isinstance(change, Commit) or change.dropped or not change.files:
            return False
        known = (self._existing(key, change.position) for key in self._keys(change.invalidated))
        return any(
            there and there.path in change.files and matches(pattern, str(there.carried.id))
            for there in known
        )

    def _keys(self, oids: Collection[int]) -> list[Key]:
        """Return the keys of these oids in each database that has objects."""
        databases = {database for database, _ in (*self._first, *self._last)}
        return [(database, oid) for database in databases for oid in oids]

    def _selects(self, pattern: str, keys: Collection[Key], before: int) -> bool:
        known = (self._existing(key, before) for key in keys)
        return any(there and matches(pattern, str(there.carried.id)) for there in known)

    def _existing(self, key: Key, before: int) -> Existing | None:
        """Return the relation as it was before the position; None if it was none of a user."""
        mentions = [mention for mention in self._mentions.get(key[1], ()) if mention < before]
        since = mentions[-1] if mentions else self._begin - 1
        for position in sorted(self._looks, reverse=True):
            if since < position <= before:
                return self._looks[position].get(key)
        if not mentions:
            return self._first.get(key)
        is_newer = self._after is not None and since > self._after
        if not is_newer or len(self._looks) >= _MOST_LOOKS or key[0] in self._elsewhere:
            return None
        return self._at(before).get(key)

    def _databases_elsewhere(self, pattern: str) -> set[int]:
        """Return the databases of which the names at first say that nothing in them can match."""
        names = {database: there.carried.id.level1 for (database, _), there in self._first.items()}
        return {database for database, name in names.items() if not _can_match(pattern, name)}

    @property
    def _first(self) -> _Look:
        return self._at(self._begin)

    @property
    def _last(self) -> _Look:
        return self._at(self._end)

    def _at(self, position: int) -> _Look:
        """Return what existed just before the position."""
        if position not in self._looks:
            landing = landing_before(self.manifest, position)
            if position == self._begin:
                landing = Landing(self.manifest.snapshot, {})
            found = existing_then(self._job.revive(landing), _EVERYTHING)
            self._looks[position] = {(there.database, there.oid): there for there in found}
        return self._looks[position]


def _may_be_a_view(pattern: str) -> bool:
    """Tell whether it can select what WAL does not list among the relations that were dropped."""
    return has_wildcard(pattern) or not pattern.startswith(f"{TYPE}/table/")


def _can_match(pattern: str, database: str) -> bool:
    return any(
        can_match_below(pattern, f"{TYPE}/{subtype}/{escape(database)}")
        for subtype in ("table", "view")
    )
