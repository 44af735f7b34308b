"""The key `owner.json` names the host that writes below a prefix; every other one is refused.

The id of the machine tells hosts apart, but a copy of a machine has the same id, and a copy of
`local_dir`. So each claim also leaves a random word in the key, and notes on this host that it is
our own. A host that finds a word which it did not leave is not the only one that writes.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from three_backup.errors import BackupError, ConfigurationError, UnreachableError
from three_backup.host.durable import sync_directory
from three_backup.host.machine import Host
from three_backup.model.storage import Storage
from three_backup.s3 import documents
from three_backup.s3.failures import MissingError
from three_backup.s3.store import OWNER, Store

_ATTEMPTS = 8
"""How often other processes of this host may come between a look at the key and our write."""

_WORDS = 64
"""So many of our words are known: a write that was given up may still arrive."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The host that writes below a prefix."""

    host: Host
    word: str  # what its last claim left; empty in keys of earlier versions
    body: bytes  # of the key
    genuine: bool  # a key of ours signed it, or signatures do not count

    def __str__(self) -> str:
        return f"{self.host.name}, {self.host.id}" if self.host.name else self.host.id


def claim(store: Store, host: Host, *, adopt: bool = False, renew: bool = True) -> None:
    """Make sure that this host, and no other, writes below the prefix, before it writes.

    adopt: take the prefix over from another host. renew: leave a new word, as whoever changes
    snapshots must; else a prefix that this machine's id owns is left as it is. Asks the server
    only the first time. Raises ConfigurationError if another host writes there.
    """
    if store.claimed:
        return
    store.refuse_foreign(OWNER)
    words = _Words(store.storage)
    for _ in range(_ATTEMPTS):
        owner = read(store)
        if owner is not None and not adopt:
            check(store, owner, host, strictly=renew)
        if (owner is not None and not renew and owner.host.id == host.id) or _written(
            store, owner, host, words
        ):
            store.claimed = True
            return
    raise BackupError(
        "s3.owner", f"{store.place(OWNER)}: other processes rewrite the key again and again"
    )


def sign(store: Store, host: Host) -> None:
    """Sign the key anew where it names this host and no key of ours signed it."""
    owner = read(store)
    if owner is not None and not owner.genuine and owner.host.id == host.id:
        claim(store, host, adopt=True)


def read(store: Store) -> Owner | None:
    """Return the owner of the prefix; None if there is none."""
    try:
        body = store.read(OWNER)
    except MissingError:
        return None
    try:
        fields = json.loads(body)
        host = Host(str(fields["host"]), str(fields.get("name", "")))
        genuine = documents.is_genuine(store, OWNER, body)
        return Owner(host, str(fields.get("word", "")), body, genuine)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(
            "s3.owner",
            f"{store.place(OWNER)}: this does not name a host",
            "delete the key if nobody else writes there",
        ) from error


def check(store: Store, owner: Owner, host: Host, *, strictly: bool = True) -> None:
    """Raise ConfigurationError if the owner of the prefix is another host, or a copy of this one.

    strictly: a copy, too. If no word is known here, because local_dir is new, the name decides.
    """
    words = _Words(store.storage)
    has_left_some = words.any  # asked for first: another process of this host may just note both
    is_ours = owner.host.id == host.id and words.has(owner.word)
    if not (owner.genuine or is_ours):
        raise ConfigurationError(
            "s3.owner_unsigned",
            f"{store.place(OWNER)}: manifest_key did not sign it: somebody else may have written "
            "it",
            "find out who writes to the bucket; if no other host does, say --adopt once",
        )
    if owner.host.id != host.id:
        raise ConfigurationError(
            "s3.owner",
            f"{store.place()}: another host writes there ({owner})",
            "give this host another s3_prefix, or take the prefix over with --adopt",
        )
    if is_ours or not strictly or not owner.word:
        return
    if has_left_some or owner.host.name != host.name:
        raise ConfigurationError(
            "s3.copied",
            f"{store.place()}: another machine with the id of this host ({owner}) writes there, "
            "or this one with another local_dir",
            "give the copy of a machine an id and an s3_prefix of its own; if this host was set "
            "back or replaced, and no other writes there any more, say --adopt once",
        )


def _written(store: Store, seen: Owner | None, host: Host, words: "_Words") -> bool:
    """Leave a new word; return False if the key was rewritten since it was seen.

    A server that knows no conditions takes it in any case; then the next claim tells.
    """
    word = token_hex(16)
    if seen is not None and seen.word and not words.has(seen.word):
        words.note(seen.word)  # it counts as our own from now on, even if ours never arrives
    words.note(word)
    body = json.dumps({"v": 1, "host": host.id, "name": host.name, "word": word}).encode() + b"\n"
    try:
        documents.write(store, OWNER, body, _unchanged(seen))
    except UnreachableError:
        raise
    except BackupError:
        found = read(store)
        if found != seen:
            return found is not None and found.word == word
        documents.write(
            store, OWNER, body
        )  # the server refuses conditions, or us, as it will say again
    return True


def _unchanged(seen: Owner | None) -> Mapping[str, str]:
    """Return the condition under which the server shall write."""
    if seen is None:
        return {"IfNoneMatch": "*"}
    return {"IfMatch": f'"{hashlib.md5(seen.body, usedforsecurity=False).hexdigest()}"'}


class _Words:
    """The words that this host has left below a prefix: a file of each, noted before it is sent.

    Whatever the endpoint is called: it may change for a while.
    """

    def __init__(self, storage: Storage) -> None:
        place = hashlib.sha256(f"{storage.bucket}/{storage.prefix}".encode()).hexdigest()[:16]
        self._folder = storage.local_dir / "owner" / place

    @property
    def any(self) -> bool:
        return any(self._files())

    def has(self, word: str) -> bool:
        return word in (file.name for file in self._files())

    def note(self, word: str) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self._folder / word).touch(mode=0o600)
            sync_directory(self._folder)
        except OSError as error:
            raise BackupError(
                "local.owner",
                f"{self._folder} cannot be written: {error.strerror}",
                "this host notes there that it owns its prefix",
            ) from error
        for file in sorted(self._files(), key=_age)[:-_WORDS]:
            file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            return list(self._folder.iterdir())
        return []


def _age(file: Path) -> float:
    with suppress(FileNotFoundError):
        return file.stat().st_mtime
    return 0.0
