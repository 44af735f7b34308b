"""Delete keys, a thousand by one request, or one by one where the server cannot do that."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from three_backup.errors import BackupError, UnreachableError
from three_backup.model.storage import Storage
from three_backup.s3.client import Client
from three_backup.s3.failures import MissingError, RefusedError, explained, passes, refusal

_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "404"})
_NOT_UNDERSTOOD = frozenset({"s3.failed", "s3.not_s3", "s3.refused"})
"""Codes of refusals of a request for many keys after which each is deleted by itself."""


class Deletion:
    """The deletion of keys by one client."""

    def __init__(
        self, storage: Storage, client: Client, names: Callable[[str], dict[str, Any]]
    ) -> None:
        """names: returns the parameters that name a key to botocore."""
        self._storage = storage
        self._client = client
        self._names = names
        self.one_by_one = False  # the server does not offer DeleteObjects

    def delete(self, keys: list[str]) -> Mapping[str, BackupError]:
        """Delete at most a thousand keys; return those still there, with the reasons."""
        if self.one_by_one:
            return self._singly(keys)
        try:
            return self._together(keys)
        except BackupError as error:
            if error.code not in _NOT_UNDERSTOOD:
                raise
            self.one_by_one = isinstance(error, RefusedError)
        return self._singly(keys)

    def _together(self, keys: list[str]) -> Mapping[str, BackupError]:
        full = {self._names(key)["Key"]: key for key in keys}
        with explained(self._storage, keys[0]):
            answer = self._client.delete_objects(
                Bucket=self._storage.bucket,
                Delete={"Objects": [{"Key": name} for name in full], "Quiet": True},
            )
        errors = [error for error in answer.get("Errors", ()) if error.get("Code") not in _GONE]
        named = [(full.get(error.get("Key"), keys[0]), error) for error in errors]
        lasting = {
            key: refusal(self._storage, key, error) for key, error in named if not passes(error)
        }
        return {**lasting, **self._singly(key for key, error in named if passes(error))}

    def _singly(self, keys: Iterable[str]) -> Mapping[str, BackupError]:
        failures: dict[str, BackupError] = {}
        for key in keys:
            try:
                with explained(self._storage, key):
                    self._client.delete_object(**self._names(key))
            except MissingError:
                continue
            except UnreachableError:
                raise
            except BackupError as error:
                failures[key] = error
        return failures
