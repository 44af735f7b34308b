"""Reads the command line by the usage text, and converts what is given there."""

import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docopt

from three_backup import __version__
from three_backup.config.options import OPTIONS
from three_backup.errors import UsageError
from three_backup.host.locks import IfRunning
from three_backup.model.local_time import parsed as parsed_time
from three_backup.model.schedule import host_zone
from three_backup.screen.progress import When

# docopt-ng names what it could not match in the notation of its own classes.
_UNMATCHED = re.compile(r"(?:Option|Argument)\((?:None|'[^']*'), '([^']*)'")


def parsed(usage: str, name: str, argv: list[str] | None) -> Mapping[str, Any]:
    """Return the arguments by option and name; UsageError where the usage text forbids them."""
    try:
        return docopt.docopt(usage, argv, version=_version(name))
    except docopt.DocoptExit as error:
        words = " ".join(_UNMATCHED.findall(str(error)))
        sentence = f"cannot make sense of {words}" if words else "something is missing"
        raise UsageError("usage", sentence, f"see {name} --help") from error


def _version(name: str) -> str:
    """Tell which of several installations this is, too."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{name} {__version__} (Python {python}, {Path(__file__).parents[2]})"


def when(arguments: Mapping[str, Any]) -> When:
    """Return when bars are drawn; AUTO for a tool that has none."""
    word = arguments.get("--progress") or When.AUTO
    if word not in tuple(When):
        raise UsageError("usage", f"--progress {word} is not known", "say auto, always or never")
    return When(word)


def if_running(arguments: Mapping[str, Any]) -> IfRunning | None:
    """Return what to do where another run holds the lock; None: as the configuration says."""
    action = arguments["--if-running"]
    if action is None:
        return None
    if action not in tuple(IfRunning):
        raise UsageError("usage", f"--if-running {action} is not known", "say skip, wait or kill")
    return IfRunning(action)


def is_stored(arguments: Mapping[str, Any]) -> bool:
    """Return whether --stored is given; UsageError for what goes with it only."""
    stored = bool(arguments["--stored"])
    for option in ("--s3-prefix", "--store", "--as-of"):
        if arguments.get(option) is not None and not stored:
            raise UsageError("usage", f"{option} goes with --stored only", "add --stored")
    return stored


def sample_size(sample: str | None) -> int | None:
    """Return how many objects --sample asks for; None for all."""
    if sample is not None and not (sample.isdecimal() and int(sample)):
        raise UsageError(
            "verify.sample", f"{sample!r} is not a number of objects", "write 20, say"
        )
    return None if sample is None else int(sample)


def moment_to_read(arguments: Mapping[str, Any], now: datetime) -> datetime | None:
    """Return the moment of --as-of, in whole seconds, at which to read the bucket; None: now."""
    given = arguments.get("--as-of")
    if given is None:
        return None
    hint = "write 2026-12-24T18:00:00Z, or 2026-12-24 18:00 for the host's time zone"
    try:
        moment = parsed_time(given, host_zone(os.environ)).astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError) as error:
        raise UsageError("usage", f"--as-of: {given!r} is not a time", hint) from error
    if moment > now:
        raise UsageError("usage", f"--as-of: {given} is still to come", hint)
    return moment


def prefix_to_read(arguments: Mapping[str, Any]) -> str | None:
    """Return the S3 prefix of the other host whose snapshots shall be read; None: our own."""
    given = arguments.get("--s3-prefix")
    try:
        return None if given is None else str(OPTIONS["s3_prefix"].convert(given))
    except ValueError as error:
        raise UsageError("usage", f"--s3-prefix: {error}", "see tb-list(1)") from error
