"""A document that holds another one, encrypted for its place."""

import base64
import json
import re

from three_backup.model.encryption import (
    EncryptionKeys,
    Purpose,
    TamperedError,
    cipher_of,
    is_name,
)

_VERSION = 2
BEGINNING = 64
"""So many bytes of a document tell the key with which it, or what it lists, is encrypted."""

_NAMED = re.compile(rb'\{"v":2,"encrypted":\{"key":"([0-9a-f]+)"')
_VEILED = re.compile(rb'\{"v":2,"encrypted":\{"key":"[0-9a-f]+","body":"')


def veiled(document: bytes, keys: EncryptionKeys, place: str) -> bytes:
    """Return a document that holds another one, encrypted for its place."""
    name = keys.writes.key
    body = keys.cipher(name, Purpose.MANIFEST, place).seal(document, 0, last=True)
    encrypted = {"key": name, "body": base64.b64encode(body).decode()}
    fields = {"v": _VERSION, "encrypted": encrypted}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def is_veiled(document: bytes) -> bool:
    return _VEILED.match(document) is not None


def key_named(beginning: bytes) -> str | None:
    """Return the name of the key that a manifest needs, veiled or not; None for a plain one."""
    found = _NAMED.match(beginning)
    return None if found is None else found[1].decode()


def unveiled(document: bytes, keys: EncryptionKeys | None, place: str, where: str) -> bytes:
    """Return what a veiled document holds; any other one is returned as it is.

    where: names it in errors. Raises NoKeyError, TamperedError.
    """
    if not is_veiled(document):
        return document
    try:
        fields = json.loads(document)["encrypted"]
        name, body = fields["key"], base64.b64decode(fields["body"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TamperedError from error
    if not is_name(name):
        raise TamperedError
    return cipher_of(keys, name, Purpose.MANIFEST, place, where).open(body, 0, last=True)
