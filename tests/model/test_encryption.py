"""What is encrypted comes back whole and in its place, or not at all."""

import hmac
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from three_backup.errors import ManifestError
from three_backup.model.encrypted_reader import EncryptedReader
from three_backup.model.encryption import (
    OVERHEAD,
    PIECE,
    Cipher,
    Encrypted,
    EncryptionKeys,
    NoKeyError,
    Purpose,
    TamperedError,
)
from three_backup.model.objects import Carrier
from three_backup.model.snapshots import Manifest, SnapshotId
from three_backup.model.veil import is_veiled, unveiled, veiled

_ONE, _OTHER = "11" * 32, "22" * 32
_PLACE = "host/data/postgres/cluster/7/20261130T000000Z-base/core.pack"
_CONTENT = os.urandom(2 * PIECE) + b"the last piece"
_STEP = PIECE + OVERHEAD


def cipher(key: str = _ONE, place: str = _PLACE, purpose: Purpose = Purpose.DATA) -> Cipher:
    keys = EncryptionKeys.parse(key)
    return keys.cipher(keys.writes.key, purpose, place)


def sealed(content: bytes, by: Cipher | None = None) -> bytes:
    return EncryptedReader(BytesIO(content), by or cipher()).readall()


def opened(stored: bytes, pieces: int, by: Cipher | None = None) -> bytes:
    return b"".join((by or cipher()).opened(stored, PIECE, 0, pieces))


_SIZES = st.one_of(
    st.integers(0, 3), *(st.integers(at - 2, at + 2) for at in (PIECE, 16 * PIECE, 17 * PIECE))
)


@given(_SIZES, st.lists(st.integers(1, 3 * PIECE), min_size=1, max_size=5))
def test_a_file_comes_back_whatever_its_size_and_however_it_was_read(
    size: int, reads: list[int]
) -> None:
    content, how = os.urandom(size), Encrypted("a key")
    reader = EncryptedReader(BytesIO(content), cipher())
    stored = b"".join(reader.read(count) or b"" for count in reads) + reader.readall()
    assert len(stored) == how.stored(size)
    assert opened(stored, how.span(0, size, size).pieces) == content
    assert stored == sealed(content)  # an upload that goes on compares


@given(st.data())
def test_any_range_is_read_out_of_the_pieces_that_hold_it(data: st.DataObject) -> None:
    how, size = Encrypted("a key"), len(_CONTENT)
    offset = data.draw(st.integers(0, size))
    length = data.draw(st.integers(0, size - offset))
    span = how.span(offset, length, size)
    stored = sealed(_CONTENT)[span.start :][: span.length]
    assert len(stored) == span.length
    body = b"".join(cipher().opened(stored, PIECE, span.first, span.pieces))
    assert body[span.within :][:length] == _CONTENT[offset:][:length]
    assert span.length <= length + 2 * PIECE + 3 * OVERHEAD


@given(st.integers(0, len(_CONTENT) + 3 * OVERHEAD))
def test_the_reader_goes_on_at_any_byte(offset: int) -> None:
    reader = EncryptedReader(BytesIO(_CONTENT), cipher())
    reader.read(PIECE)
    reader.seek(offset)
    assert reader.readall() == sealed(_CONTENT)[offset:]


@pytest.mark.parametrize(
    ("changed", "pieces"),
    [
        (lambda body: body[_STEP : 2 * _STEP] + body[:_STEP] + body[2 * _STEP :], 3),
        (lambda body: body[: 2 * _STEP], 2),
        (lambda body: body[:_STEP] + body[2 * _STEP :], 2),
        (lambda body: body[:-1], 3),
        (lambda body: body[:100] + bytes([body[100] ^ 1]) + body[101:], 3),
        (lambda body: body + sealed(b"more"), 4),
        (lambda body: sealed(_CONTENT, cipher(_OTHER)), 3),
        (lambda body: sealed(_CONTENT, cipher(place=_PLACE.replace("core", "s3"))), 3),
        (lambda body: sealed(_CONTENT, cipher(place=_PLACE.replace("1130", "1201"))), 3),
        (lambda body: sealed(_CONTENT, cipher(place=f"other{_PLACE}")), 3),
        (lambda body: sealed(_CONTENT, cipher(purpose=Purpose.WAL)), 3),
        (lambda body: _CONTENT + bytes(3 * OVERHEAD), 3),
    ],
    ids=[
        "swapped",
        "cut short",
        "one left out",
        "a byte short",
        "a bit flipped",
        "appended",
        "another key",
        "another file",
        "another snapshot",
        "another prefix",
        "another purpose",
        "never encrypted",
    ],
)
def test_what_an_attacker_changes_does_not_decrypt(changed, pieces: int) -> None:  # type: ignore[no-untyped-def]
    stored = changed(sealed(_CONTENT))
    with pytest.raises(TamperedError):
        opened(stored, pieces)


def test_other_content_in_the_same_place_never_shares_a_nonce() -> None:
    nonces = {sealed(bytes([value]) * 10)[:12] for value in range(256)}
    assert len(nonces) == 256
    zeros = sealed(bytes(3 * PIECE))
    assert len({zeros[start : start + 12] for start in range(0, len(zeros), _STEP)}) == 3


def test_the_form_is_one_that_others_can_read() -> None:
    """By AES-GCM and HKDF alone, as whoever has the key but not three_backup would."""
    info = b"three_backup encryption 1\0data\0" + _PLACE.encode()
    derived = HKDF(SHA256(), 64, None, info).derive(bytes.fromhex(_ONE))
    stored = sealed(b"hello")
    about = bytes(8) + b"\x01"
    assert AESGCM(derived[:32]).decrypt(stored[:12], stored[12:], about) == b"hello"
    assert hmac.digest(derived[32:], about + b"hello", "sha256")[:12] == stored[:12]


def test_a_document_is_veiled_for_its_place_alone() -> None:
    keys, document = EncryptionKeys.parse(f"{_ONE}\n{_OTHER}"), b'{"v":1,"table":"orders"}\n'
    veil = veiled(document, keys, _PLACE)
    assert json.loads(veil)["encrypted"]["key"] == keys.names[0]
    assert (b"orders" in veil, is_veiled(veil), is_veiled(document)) == (False, True, False)
    assert unveiled(veil, EncryptionKeys.parse(_ONE), _PLACE, "it") == document
    assert unveiled(document, None, _PLACE, "it") == document
    with pytest.raises(TamperedError):
        unveiled(veil, keys, _PLACE.replace("base", "incr"), "it")
    with pytest.raises(NoKeyError, match=f"it: it is encrypted with key {keys.names[0]}, which"):
        unveiled(veil, EncryptionKeys.parse(_OTHER), _PLACE, "it")
    with pytest.raises(NoKeyError):
        unveiled(veil, None, _PLACE, "it")


def test_a_document_names_no_key_that_would_spoil_a_terminal() -> None:
    keys = EncryptionKeys.parse(_ONE)
    veil = veiled(b"{}\n", keys, _PLACE)
    forged = veil.replace(b'"}}', b'","key":"\\u001b[2J"}}')
    with pytest.raises(TamperedError):
        unveiled(forged, keys, _PLACE, "it")


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "\x1b[2J", "piece": PIECE},
        {"key": 1, "piece": PIECE},
        {"key": "5a" * 8, "piece": 0},
        {"key": "5a" * 8, "piece": 1 << 40},
        {"key": "5a" * 8, "piece": "1"},
        {"piece": PIECE},
    ],
)
def test_what_no_manifest_of_ours_says_is_malformed(fields: Mapping[str, object]) -> None:
    body = Manifest(
        Carrier("postgres/cluster/7"),
        SnapshotId(datetime(2026, 11, 30, tzinfo=UTC)),
        (),
        (),
        1,
        1,
        {},
        "",
        "",
        "",
        Encrypted("5a" * 8),
    ).to_json()
    assert Manifest.from_json(body, "it").encrypted == Encrypted("5a" * 8)
    forged = json.loads(body)
    del forged["sha256"]
    forged["encrypted"] = fields
    with pytest.raises(ManifestError, match="this is not a manifest"):
        Manifest.from_json(json.dumps(forged).encode() + b"\n", "it")


@given(st.binary(max_size=200))
def test_no_document_is_veiled_by_what_it_holds(noise: bytes) -> None:
    keys, veil = EncryptionKeys.parse(_ONE), veiled(b"{}\n", EncryptionKeys.parse(_ONE), _PLACE)
    with pytest.raises(TamperedError):
        unveiled(veil[: veil.index(b'"body":"') + 8] + noise, keys, _PLACE, "it")


def test_a_new_key_encrypts_and_the_old_one_decrypts() -> None:
    old, both = EncryptionKeys.parse(_ONE), EncryptionKeys.parse(f"{_OTHER}\n{_ONE}\n")
    assert both.writes.key == EncryptionKeys.parse(_OTHER).writes.key != old.writes.key
    by = both.cipher(old.writes.key, Purpose.DATA, _PLACE)
    assert opened(sealed(_CONTENT), 3, by) == _CONTENT
    assert _ONE not in repr(both)


@pytest.mark.parametrize("text", ["", "abc", "zz" * 32, f"{_ONE} 00", "11" * 33])
def test_what_is_no_key_is_refused_with_the_way_to_one(text: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -hex 32"):
        EncryptionKeys.parse(text)
