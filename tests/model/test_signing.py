"""A signature counts for one document, in one place, under a key that is known."""

import hashlib
import hmac
import json

import pytest

from three_backup.model.signing import Keyring, plain

_ONE, _OTHER = "11" * 32, "22" * 40
_PLACE = "host/manifests/postgres/cluster/7/20261130T000000Z-base.json"
_DOCUMENT = b'{"v":1,"carrier":"postgres/cluster/7","sha256":"aa"}\n'


def test_a_signed_document_is_genuine_and_still_json() -> None:
    keyring = Keyring.parse(_ONE)
    signed = keyring.signed(_DOCUMENT, _PLACE)
    assert keyring.is_genuine(signed, _PLACE)
    assert json.loads(signed)["carrier"] == "postgres/cluster/7"
    assert plain(signed) == _DOCUMENT
    assert keyring.signed(signed, _PLACE) == signed


def test_the_signature_is_an_hmac_that_others_can_compute() -> None:
    """By the standard library alone, as whoever reads the bucket without three_backup would."""
    signature = json.loads(Keyring.parse(_ONE).signed(_DOCUMENT, _PLACE))["signature"]
    message = b"three_backup document 1\0%d\0" % len(_PLACE) + _PLACE.encode() + _DOCUMENT
    expected = hmac.new(bytes.fromhex(_ONE), message, hashlib.sha256).hexdigest()
    assert signature.partition(":")[2] == expected


@pytest.mark.parametrize(
    "changed",
    [
        lambda signed: signed.replace(b"cluster/7", b"cluster/8"),
        lambda signed: _DOCUMENT,
        lambda signed: signed.replace(b'"signature":"', b'"signature":"0'),
        lambda signed: signed + b"\n",
        lambda signed: b" " + signed,
        lambda signed: signed.replace(b'"v":1', b'"v": 1'),
        lambda signed: signed[:-5] + bytes([signed[-5] ^ 1]) + signed[-4:],
        lambda signed: Keyring.parse(_OTHER).signed(_DOCUMENT, _PLACE),
    ],
    ids=["changed", "unsigned", "spoilt", "longer", "shifted", "spaced", "other mac", "other key"],
)
def test_any_other_document_is_not(changed) -> None:  # type: ignore[no-untyped-def]
    keyring = Keyring.parse(_ONE)
    other = changed(keyring.signed(_DOCUMENT, _PLACE))
    assert not keyring.is_genuine(other, _PLACE)


def test_nor_is_it_in_another_place() -> None:
    keyring = Keyring.parse(_ONE)
    signed = keyring.signed(_DOCUMENT, _PLACE)
    for place in (_PLACE.replace("host/", "other/"), _PLACE.replace("20261130", "20261201"), ""):
        assert not keyring.is_genuine(signed, place)


def test_a_new_key_signs_and_the_old_one_is_believed() -> None:
    old = Keyring.parse(_ONE).signed(_DOCUMENT, _PLACE)
    both = Keyring.parse(f"{_OTHER}\n{_ONE}\n")
    assert both.is_genuine(old, _PLACE)
    new = both.signed(_DOCUMENT, _PLACE)
    assert Keyring.parse(_OTHER).is_genuine(new, _PLACE)
    assert not Keyring.parse(_ONE).is_genuine(new, _PLACE)
    assert both.id not in (Keyring.parse(_ONE).id, Keyring.parse(_OTHER).id)
    assert _ONE not in repr(both)


@pytest.mark.parametrize("text", ["", "abc", "zz" * 32, f"{_ONE} 00"])
def test_what_is_no_key_is_refused_with_the_way_to_one(text: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -hex 32"):
        Keyring.parse(text)
