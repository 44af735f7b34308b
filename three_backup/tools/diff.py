"""tb-diff - tell in what live objects differ from a snapshot, or two snapshots

Usage:
  tb-diff [options] [PATTERN]...

Options:
      --from WHEN       the earlier moment: a snapshot or a time; default: the newest snapshot
      --to WHEN         the later one: a snapshot, a time, or live [default: live]
      --exact           fail where just these moments cannot be had
      --rows            print the rows in which they differ, each with a sign, - for --from
      --definition      print how what makes the objects differs
      --sql             print SQL that turns the later state into the earlier one
      --json            records on a terminal, too, in place of a table
      --unsigned        take what manifest_key did not sign, too
      --s3-prefix NAME  what another host backed up, below its s3_prefix
      --store NAME      read the copies in this further store
      --as-of TIME      read the bucket as it was then, by the versions that it keeps
      --progress WHEN   draw a bar: auto, always or never [default: auto]
  -c, --config FILE     the configuration
      --env-file FILE   variables instead of .env.restore and .env beside it
  -h, --help            show this
      --version         show the version

PATTERN is an id or a glob as for tb-discover --select. Without one, records are read from
standard input. Adds difference. Exits 0 where all is equal, and 1 where anything differs.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import tzinfo
from typing import Any, Self

from three_backup import pipe
from three_backup.errors import BackupError, Exit, UsageError
from three_backup.model.schedule import host_zone
from three_backup.model.snapshots import rfc3339
from three_backup.pipe import Invocation
from three_backup.restoring.comparing import AtHand, Comparisons, Outcome, Pair
from three_backup.restoring.search import Search
from three_backup.restoring.snapshot_finder import Held
from three_backup.sources.comparing import Comparing, Difference
from three_backup.watching.forms_of_proof import COMPARED
from three_backup.watching.sheet import Sheet

_LIVE = "live"


@dataclass(frozen=True, slots=True)
class Args:
    earlier: Search
    later: Search | None  # None: the live server
    rows: bool
    definition: bool
    sql: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any], zone: tzinfo) -> Self:
        shown = [name for name in ("--rows", "--definition") if arguments[name]]
        if arguments["--sql"] and shown:
            raise UsageError(
                "diff.choice", f"--sql and {shown[0]} exclude one another", "give one"
            )
        to, patterns, exact = arguments["--to"], arguments["PATTERN"], bool(arguments["--exact"])
        return cls(
            earlier=Search.at(arguments["--from"], patterns, zone, exact=exact),
            later=None if to == _LIVE else Search.at(to, patterns, zone, exact=exact),
            rows=bool(arguments["--rows"]),
            definition=bool(arguments["--definition"]),
            sql=bool(arguments["--sql"]),
        )

    @property
    def prints(self) -> bool:
        """Whether something is printed in place of records."""
        return self.rows or self.definition or self.sql


def main() -> int:
    return pipe.main(__doc__, run, restores=True)


def run(invocation: Invocation) -> Exit:
    args = Args.of(invocation.arguments, host_zone(os.environ))
    invocation.warn()
    if not args.prints:
        invocation.present(Sheet(COMPARED))
    differs = False
    for record, error in _outcomes(invocation, args):
        told = record if error is None else invocation.fail(record, error)
        differs = differs or not told.part("difference").get("equal", True)
        if args.prints:
            invocation.count(told)
        else:
            invocation.emit(told)
    return Exit.FAILED if differs and invocation.status is Exit.OK else invocation.status


def _outcomes(invocation: Invocation, args: Args) -> Iterator[Outcome]:
    earlier = args.earlier.jobs(invocation)
    later = None if args.later is None else args.later.jobs(invocation)
    requests, others = args.earlier.found(invocation, earlier)
    yield from ((record, None) for record in others)
    finder = None if args.later is None or later is None else args.later.finder(invocation, later)
    pairs: list[Pair] = []
    for request in requests:
        try:
            held = None if finder is None else finder.one(request.held.object.id)
        except BackupError as error:
            yield request.record, error
            continue
        pairs.append(Pair(request.record, request.held, held))
        if held is not None:
            for note in held.notes:
                invocation.say(f"{held.object.id}: {note}")
    comparisons = Comparisons(invocation, earlier, later, repairs=args.sql)
    yield from comparisons.done(pairs, _Compared(invocation, args))


@dataclass(frozen=True, slots=True)
class _Compared:
    """Compares the objects of a party, and prints what is asked for."""

    invocation: Invocation
    args: Args

    def __call__(self, at_hand: AtHand, party: Sequence[Pair]) -> Iterator[Outcome]:
        comparing, compared = at_hand.comparing, list[Pair]()
        for pair in party:
            began = time.monotonic()
            try:
                difference = comparing.difference(pair.id)
                self._print(comparing, pair, difference)
            except BackupError as error:
                yield pair.record, error
                continue
            compared.append(pair)
            told = _told(pair, self.args, difference)
            told["seconds"] = round(time.monotonic() - began, 3)
            told |= {"bytes_read": at_hand.bytes_read, **at_hand.mended()}
            yield pair.record.with_fields(difference=told), None
        if self.args.sql:
            self._print_repair(comparing, party, compared)

    def _print(self, comparing: Comparing, pair: Pair, difference: Difference) -> None:
        definition = self.args.definition and difference.definition
        rows = self.args.rows and bool(difference.counts and difference.counts.any)
        if definition or rows:
            self._pour([_head(pair, self.args)])
        if definition:
            self._pour(comparing.definition(pair.id))
        if rows:
            self._pour(comparing.rows(pair.id))

    def _print_repair(
        self, comparing: Comparing, party: Sequence[Pair], compared: Sequence[Pair]
    ) -> None:
        """Print the statements, unless some objects are missing: half a way back is none."""
        if len(compared) < len(party):
            self.invocation.say("nothing is printed, as not all of the objects were compared")
            return
        self._pour(comparing.repair([pair.id for pair in compared]))

    def _pour(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.invocation.pour(piece)


def _head(pair: Pair, args: Args) -> bytes:
    lines = (
        f"{sign} {pair.id} {moment.get('at', moment.get('snapshot', _LIVE))}\n"
        for sign, moment in zip(("---", "+++"), _moments(pair, args), strict=True)
    )
    return "".join(lines).encode()


def _moments(pair: Pair, args: Args) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the earlier and the later moment, as records tell them."""
    earlier = _moment(pair.earlier, args.earlier)
    if pair.later is None or args.later is None:
        return earlier, {"live": True}
    return earlier, _moment(pair.later, args.later)


def _moment(held: Held, search: Search) -> Mapping[str, Any]:
    at = search.choice.at if held.landing is not None else None
    return {"snapshot": str(held.snapshot.id), **({"at": rfc3339(at)} if at else {})}


def _told(pair: Pair, args: Args, difference: Difference) -> dict[str, Any]:
    """Return what the record shall say."""
    counts = {} if difference.counts is None else asdict(difference.counts)
    earlier, later = _moments(pair, args)
    return {
        "from": earlier,
        "to": later,
        "equal": difference.equal,
        "definition": "different" if difference.definition else "equal",
        **{name: number for name, number in counts.items() if number is not None},
        **difference.facts,
    }
