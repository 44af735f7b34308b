"""The place of the backups in S3, as options say it or a person answers."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from three_backup.config.options import OPTIONS
from three_backup.errors import ConfigurationError, UsageError
from three_backup.pipe.asking import ask, ask_secret, can_ask
from three_backup.pipe.speech import complain

Options = Mapping[str, str]
"""Options of the configuration by their names, as they are written there."""

ENDPOINT, BUCKET, PREFIX = "s3_endpoint", "s3_bucket", "s3_prefix"
ACCESS, SECRET = "s3_access_key", "s3_secret_key"
_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_TEMPORARY = "AWS_SESSION_TOKEN"
_SERVER, _WHERE = "server", "server and bucket"
_EXAMPLES = {_SERVER: ", such as s3.example.com", _WHERE: ", such as s3.example.com/backups"}
_STDIN = "-"


def keys_of(file: str | None, environ: Mapping[str, str]) -> Options:
    """Return the keys in a file, else those in the environment, if they last.

    Raises ConfigurationError if the file has not two lines.
    """
    if file is not None:
        return _in_file(file)
    access, secret = (environ.get(name) for name in _VARIABLES)
    if not access or not secret or environ.get(_TEMPORARY):
        return {}
    return {ACCESS: access, SECRET: secret}


def checked(name: str, value: str, said: str) -> str:
    """Return the value of an option. Raises UsageError, naming what was said, if it is bad."""
    try:
        OPTIONS[name].convert(value)
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError("usage", f"{said}: it is not UTF-8", "correct it") from error
    except ValueError as error:
        raise UsageError("usage", f"{said}: {error}", "correct it") from error
    return value


def completed(given: Options) -> Options:
    """Return the options with those that a person had to be asked for.

    Raises UsageError if nobody can be asked: it names the options that are missing.
    """
    lacking = [name for name in (ENDPOINT, BUCKET, ACCESS) if name not in given]
    if not lacking:
        return given
    if not can_ask():
        words = {ENDPOINT: "--endpoint", BUCKET: "--bucket", ACCESS: "--keys-from"}
        raise UsageError(
            "usage",
            "nobody can be asked without a terminal",
            f"give {_listed([words[name] for name in lacking])}",
        )
    return _asked(given, again=False)


def corrected(options: Options) -> Options:
    """Return the options as a person corrects them; Enter keeps what is shown."""
    complain("\ncorrect it; Enter keeps what stands in brackets")
    return _asked(options, again=True)


def _asked(given: Options, *, again: bool) -> Options:
    found = dict(given)
    if again or ENDPOINT not in found:
        found.update(_address(found))
    elif BUCKET not in found:
        found[BUCKET] = _bucket()
    if again or ACCESS not in found:
        found[ACCESS] = _needed("access key", found.get(ACCESS, ""))
        kept = found.get(SECRET, "")
        question = "secret key, Enter keeps it" if kept else "secret key"
        while not (secret := ask_secret(question) or kept):
            pass
        found[SECRET] = secret
    return found


def _address(found: Options) -> Options:
    """Ask for server and bucket, and for the bucket alone if that is missing."""
    known = [found[name] for name in (ENDPOINT, BUCKET) if name in found]
    before = "/".join(known) if ENDPOINT in found else ""
    question = _SERVER if BUCKET in found and not before else _WHERE
    while True:
        answer = _needed(question if before else question + _EXAMPLES[question], before)
        if answer == before and BUCKET in found:
            return {}
        try:
            parts = {BUCKET: found.get(BUCKET, ""), **_parted(answer)}
            parts[BUCKET] = parts[BUCKET] or _needed("bucket", "")
            return {name: checked(name, value, "that") for name, value in parts.items()}
        except UsageError as error:
            complain(f"  {error.message}")


def _bucket() -> str:
    while True:
        try:
            return checked(BUCKET, _needed("bucket", ""), "that")
        except UsageError as error:
            complain(f"  {error.message}")


def _parted(address: str) -> Options:
    """Take an address apart: server, bucket, and the prefix behind it. Raises UsageError."""
    try:
        parts = urlsplit(address if "://" in address else f"https://{address}")
    except ValueError as error:
        raise UsageError("usage", f"{address!r} is no address", "correct it") from error
    bucket, _, prefix = parts.path.strip("/").partition("/")
    named = {ENDPOINT: f"{parts.scheme}://{parts.netloc}", BUCKET: bucket, PREFIX: prefix}
    return {name: value for name, value in named.items() if value}


def _needed(question: str, default: str) -> str:
    while not (answer := ask(question, default)):
        pass
    return answer


def _in_file(file: str) -> Options:
    try:
        text = sys.stdin.read() if file == _STDIN else Path(file).read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError("init.keys", f"{file}: it is not UTF-8", "correct it") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != len(_VARIABLES):
        raise ConfigurationError(
            "init.keys",
            f"{'standard input' if file == _STDIN else file}: there are not two lines",
            "write the access key on the first, the secret key on the second",
        )
    return dict(zip((ACCESS, SECRET), lines, strict=True))


def _listed(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
