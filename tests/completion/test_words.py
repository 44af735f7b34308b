"""The words that complete one, out of what this host has; no server is asked."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import completions
from tests.completion.conftest import BASE, HITS, NEXT, TABLES, WEB
from three_backup.completion.words import next_words

IDS = [HITS, WEB, *TABLES]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("post", ["postgres/table/", "postgres/view/"]),
        ("postgres/t", list(TABLES[:3])),
        ("postgres/table/shop/public/orders", ["postgres/table/shop/public/orders"]),
        ("l", [WEB]),
        ("ORD", list(TABLES[:2])),
        ("postgres/x", []),
        ("nothing", []),
    ],
)
def test_an_id_is_completed_up_to_where_ids_differ(typed: str, words: list[str]) -> None:
    assert next_words(typed, IDS) == words


def test_without_a_word_the_types_are_offered() -> None:
    assert next_words("", IDS) == ["clickhouse/", "lxd/", "postgres/"]
    assert next_words("", []) == []


def asked(environ: dict[str, str], *words: str, cwd: Path | None = None) -> list[str]:
    argv = (sys.executable, "-P", "-m", "three_backup.completion", *words)
    done = subprocess.run(argv, env=environ, cwd=cwd, capture_output=True, check=False)
    assert done.stderr == b""
    return done.stdout.decode().splitlines()


def test_ids_come_from_snapshots_the_cache_and_the_last_run(environ: dict[str, str]) -> None:
    assert asked(environ, "ids", "") == ["clickhouse/", "lxd/", "postgres/"]
    assert asked(environ, "ids", "c") == [HITS]
    # The newest snapshot counts, and nothing in it steers the terminal.
    assert asked(environ, "ids", "postgres/table/") == list(TABLES[:3])


def test_snapshots_are_those_of_the_object_on_the_line(environ: dict[str, str]) -> None:
    assert asked(environ, "snapshots", "") == [str(NEXT), str(BASE)]
    assert asked(environ, "snapshots", "", TABLES[1]) == [str(NEXT), str(BASE)]
    assert asked(environ, "snapshots", "", WEB) == [str(BASE)]
    assert asked(environ, "snapshots", "", HITS) == []


def test_the_configuration_on_the_line_counts(environ: dict[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f'- "*": {{local_dir: {tmp_path}}}\n')
    for option in (["-c", str(other)], ["--config", str(other)], [f"--config={other}"]):
        assert asked(environ, "ids", "", *option) == []


@pytest.mark.parametrize("text", ["no yaml: [", '- "*": {local_dir: 7, s3_buket: x}\n'])
def test_whatever_goes_wrong_nothing_is_printed(
    environ: dict[str, str], tmp_path: Path, text: str
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(text)
    for path in (broken, tmp_path / "missing.yaml"):
        assert asked({**environ, "THREE_BACKUP_CONFIG": str(path)}, "ids", "") == []


def test_a_damaged_memory_costs_only_what_it_held(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "last_run.json").write_bytes(b"{")
    cluster = tmp_path / "postgres" / "cluster" / "7" / str(BASE)
    cluster.mkdir(parents=True)
    (cluster / "manifest.json").write_bytes(b'{"objects": [1]}')
    (tmp_path / "lxd" / "container" / "default" / "default" / "web").mkdir(parents=True)
    configuration = tmp_path / "three_backup.yaml"
    configuration.write_text(f'- "*": {{local_dir: {tmp_path}}}\n')
    assert asked({**environ, "THREE_BACKUP_CONFIG": str(configuration)}, "ids", "") == [WEB]


def test_s3_that_never_answers_is_not_waited_for(environ: dict[str, str]) -> None:
    began = time.monotonic()
    asked(environ, "ids", "postgres/")
    asked(environ, "snapshots", "")
    assert time.monotonic() - began < 10  # a request would take its five minutes


def test_nothing_in_the_current_folder_is_run(environ: dict[str, str], tmp_path: Path) -> None:
    for name in ("yaml.py", "json.py", "three_backup.py"):
        (tmp_path / name).write_text("raise SystemExit('run')\n")
    assert asked(environ, "ids", "l", cwd=tmp_path) == [WEB]


def test_the_scripts_are_those_that_the_usage_texts_give() -> None:
    for path, text in completions.written().items():
        assert path.read_text() == text, "python -m tests.completions writes them"
    there = {path for path in completions.FOLDER.glob("*/*") if "__pycache__" not in path.parts}
    assert there == {*completions.written(), completions.FOLDER / "bash" / "three_backup"}
