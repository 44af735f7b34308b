"""The form in which PostgreSQL keeps a password: whoever reads it cannot log in by it."""

import base64
import hashlib
import hmac

_ROUNDS = 4096


def verifier(password: str, salt: bytes) -> str:
    """Return the SCRAM-SHA-256 verifier (RFC 5803) of a password of printable ASCII."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    stored = hashlib.sha256(_mac(salted, b"Client Key")).digest()
    server = _mac(salted, b"Server Key")
    return f"SCRAM-SHA-256${_ROUNDS}:{_text(salt)}${_text(stored)}:{_text(server)}"


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _text(binary: bytes) -> str:
    return base64.b64encode(binary).decode()
