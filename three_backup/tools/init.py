"""tb-init - set up backups of this host, up to the first one

Usage:
  tb-init [--source SOURCE]... [options]

Options:
      --endpoint URL     the S3 server, such as s3.example.com
      --bucket NAME      the bucket
      --prefix NAME      the folder of this host in it; by default the name of the host
      --region NAME      the region, if the server insists on one
      --keys-from FILE   access key and secret key, on two lines; - for standard input
      --create-bucket    make the bucket if there is none
      --local-dir DIR    the folder of snapshots on this host
  -s, --source SOURCE    back up this source only; may be repeated
      --prepare          run the SQL that is shown without asking, where root may
      --sign             sign what is stored, with a new key that the bucket never sees
      --enable           start the timer of systemd without asking
      --run              take the first backup without asking
      --progress WHEN    draw a bar: auto, always or never [default: auto]
  -c, --config FILE      the configuration to write
  -h, --help             show this
      --version          show the version

Asks for what is not given, tries it, and writes the configuration and .env beside it. What is
there already is never changed. Keys come from the environment, too: AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY. SOURCE is lxd, incus, postgres or clickhouse; by default all that answer.
"""

import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from three_backup import pipe
from three_backup.beginning import answers, servers, timer
from three_backup.beginning.answers import Options
from three_backup.beginning.files import KEY, Files
from three_backup.beginning.ready import made_ready
from three_backup.beginning.servers import Server
from three_backup.beginning.store import Trying, working
from three_backup.beginning.telling import screen_of, telling
from three_backup.command import Program, folder_of, joined
from three_backup.config import Configuration, environment_file, understood
from three_backup.config.first import first_configuration, first_environment
from three_backup.config.loading import host_storage
from three_backup.errors import BackupError, Exit
from three_backup.model.storage import Storage
from three_backup.pipe import Invocation
from three_backup.pipe.asking import agree, can_ask
from three_backup.screen.findings import finding_text

_OPTIONS = {
    "s3_endpoint": "--endpoint",
    "s3_bucket": "--bucket",
    "s3_prefix": "--prefix",
    "s3_region": "--region",
    "local_dir": "--local-dir",
}
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Args:
    storage: Options  # without the keys
    keys_from: str | None
    create_bucket: bool
    sources: tuple[str, ...]
    prepare: bool
    sign: bool
    enable: bool
    run: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        given = {name: arguments[word] for name, word in _OPTIONS.items()}
        return cls(
            storage={
                name: answers.checked(name, value, _OPTIONS[name])
                for name, value in given.items()
                if value is not None
            },
            keys_from=arguments["--keys-from"],
            create_bucket=bool(arguments["--create-bucket"]),
            sources=tuple(arguments["--source"]),
            prepare=bool(arguments["--prepare"]),
            sign=bool(arguments["--sign"]),
            enable=bool(arguments["--enable"]),
            run=bool(arguments["--run"]),
        )


def main() -> int:
    return pipe.main(__doc__, run, configures=True)


def run(invocation: Invocation) -> Exit:
    args = Args.of(invocation.arguments)
    files = Files.of(invocation.config, os.environ, os.geteuid())
    keys = answers.keys_of(args.keys_from, os.environ)
    known = _known(files)
    os.environ.update(known)
    given = {**args.storage, **keys}
    if not can_ask():
        answers.completed(given)  # raises before anything is tried
    found = _found(invocation)
    chosen = servers.chosen(found, args.sources)
    variables = {
        name: value for server in chosen for name, value in server.preparation.variables.items()
    }
    files.require_variables(variables, known)
    storage = working(answers.completed(given), _trying(invocation, files, args))
    _write(invocation, files, _texts(args, files, storage, found, chosen, variables))
    os.environ.update(variables)
    invocation.config = files.configuration
    try:
        return _begin(invocation, args, files, chosen)
    except KeyboardInterrupt:
        invocation.say(f"{files.configuration} stays; tb-check tries it out, tb-run backs up")
        raise


def _begin(invocation: Invocation, args: Args, files: Files, chosen: Sequence[Server]) -> Exit:
    """Bring a host that is configured to its first backup."""
    ready = [made_ready(invocation, server, acts=args.prepare) for server in chosen]
    is_scheduled = _schedule(invocation, files, args)
    status = _first_run(invocation, args, chosen, is_ready=all(ready))
    return status if is_scheduled else status or Exit.FAILED


def _known(files: Files) -> dict[str, str]:
    """Return the variables of a .env that is there: an attempt that was killed may have left it.

    They win over what is set here, since they are all that runs of cron will have.
    """
    here = Configuration(files.configuration, (), _defaults())
    return environment_file(here, None, {})


def _defaults() -> Storage:
    return host_storage(os.environ, os.geteuid(), os.uname().nodename)


def _found(invocation: Invocation) -> list[Server]:
    found = servers.found(os.environ)
    invocation.write("what is on this host\n")
    findings = [server.preparation.found for server in found] or [servers.none_found()]
    for finding in findings:
        invocation.write(finding_text(finding, screen_of(invocation)))
    if can_ask():
        invocation.write("\n")
    return found


def _trying(invocation: Invocation, files: Files, args: Args) -> Trying:
    def storage(options: Options) -> Storage:
        text = first_configuration(options)
        (storage,) = understood(text, files.configuration, os.environ).storages()
        return storage

    return Trying(storage, partial(telling, invocation), invocation.clock, args.create_bucket)


def _texts(
    args: Args,
    files: Files,
    storage: Options,
    found: Sequence[Server],
    chosen: Sequence[Server],
    variables: Mapping[str, str],
) -> Mapping[Path, str]:
    """Return the texts of the files, the configuration last: with it all of them count."""
    texts: dict[Path, str] = {}
    options = {answers.PREFIX: _defaults().prefix, **storage}
    if args.sign:
        options["manifest_key_file"] = KEY
        if not files.key.exists():
            texts[files.key] = f"{secrets.token_hex(_KEY_BYTES)}\n"
    if variables and not files.environment.exists():
        texts[files.environment] = first_environment(variables)
    left_out = [server.type for server in found if server not in chosen]
    return {**texts, files.configuration: first_configuration(options, left_out)}


def _write(invocation: Invocation, files: Files, texts: Mapping[Path, str]) -> None:
    with pipe.translated():
        files.write(texts)
    invocation.write("\n")
    for path in texts:
        invocation.write(f"written: {path}\n")
    if files.key in texts:
        invocation.write("tb-check --recovery-sheet shows the key: print it, and keep it safe\n")


def _schedule(invocation: Invocation, files: Files, args: Args) -> bool:
    """Start the timer if somebody wants it, else say what does; return whether all went well."""
    invocation.write("\n")
    if not (files.is_for_all and timer.has_timer()):
        line = timer.crontab_line(None if files.is_for_all else files.configuration)
        text = "for hourly runs, which do only what is due, in the crontab:"
        invocation.write(f"{text}\n\n{line}\n\n")
        if args.enable:
            invocation.say(f"{timer.TIMER}: there is none that would find {files.configuration}")
        return not args.enable
    if not args.enable and not (can_ask() and agree("start the timer, hourly?", default=True)):
        invocation.write(f"for hourly runs: systemctl enable --now {timer.TIMER}\n")
        return True
    try:
        timer.enable()
    except BackupError as error:
        invocation.say(str(error))
        return False
    invocation.write(f"{timer.TIMER} is started; a run does only what is due\n")
    return True


def _first_run(
    invocation: Invocation, args: Args, chosen: Sequence[Server], *, is_ready: bool
) -> Exit:
    """Take the first backup if somebody wants it, and show how it stands."""
    status = Exit.OK if is_ready else Exit.FAILED
    wanted = bool(chosen) and (args.run or (can_ask() and _is_wanted(is_ready=is_ready)))
    if not wanted:
        invocation.write("then: tb-run takes the first backup, tb-status says how it stands\n")
        return status
    ended = _tool(invocation, "tb-run", f"--progress={invocation.progress}", "--if-running=wait")
    invocation.write("\n")
    _tool(invocation, "tb-status")
    return Exit(ended) if ended in tuple(Exit) else Exit.FAILED


def _is_wanted(*, is_ready: bool) -> bool:
    return agree("take the first backup now?", default=is_ready)


def _tool(invocation: Invocation, name: str, *words: str) -> int:
    """Run a tool with this configuration; it sees our terminal through us."""
    argv = (sys.executable, str(folder_of([name]) / name), f"--config={invocation.config}", *words)
    columns = {} if invocation.width is None else {"COLUMNS": str(invocation.width)}
    with joined([Program(argv, columns)]) as pipeline:
        for line in pipeline.output:
            invocation.write(line.decode("utf-8", "replace"))
        (status,) = pipeline.statuses()
    return status
