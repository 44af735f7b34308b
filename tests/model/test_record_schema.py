"""The published schema and three_backup-records(5) describe the records as they are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record, malformed_line, of_selector, of_source
from three_backup.model.snapshots import SnapshotId
from three_backup.model.stages import TARGETS, Stage

ROOT = Path(__file__).parents[2]
_SCHEMA_FILE = ROOT / "three_backup" / "model" / "record.schema.json"
SCHEMA: dict[str, Any] = json.loads(_SCHEMA_FILE.read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
PAGE = (ROOT / "man" / "three_backup-records.5").read_text()
USERS = Record.of(ObjectId("postgres", "table", "prod", "", "a/b\n"), size=81920)
FAILURE = BackupError("s3.denied", "s3://backups: access denied", "check the key")


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "record",
    [
        USERS,
        USERS.with_fields(colour="red", todo=[], take=None, newest=None),
        USERS.with_fields(stage=Stage.PARTIALLY_SYNCED, max_stage=Stage.ROTATED_S3),
        USERS.with_fields(todo=TARGETS[1:]).reached(Stage.SNAPSHOT_BASE),
        USERS.with_error("tb-upload", FAILURE),
        USERS.with_error("tb-plan", BackupError("plan", "no")),
        of_source("postgres", "postgres").with_error("tb-discover", FAILURE),
        of_source("postgres/table/prod", "postgres").with_error("tb-discover", FAILURE),
        of_source("postgres/cluster/7", "postgres", carrier="postgres/cluster/7").with_fields(
            kept={"snapshot": "20261101T000000Z-base", "until": None, "reason": ""}
        ),
        USERS.with_fields(released="20261101T000000Z-base"),
        malformed_line("tb-plan", 3, FAILURE),
        of_selector("oders").with_error("tb-discover", FAILURE),
    ],
    ids=str,
)
def test_what_the_tools_write_is_a_record(record: Record) -> None:
    VALIDATOR.validate(json.loads(record.to_line()))


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"size": -1},
        {"size": 1.5},
        {"stage": "done"},
        {"max_stage": "partially_synced"},
        {"todo": ["partially_synced"]},
        {"take": "full"},
        {"planned_at": "2026-11-23T10:17:00+00:00"},
        {"newest": "20261101T000000Z"},
        {"error": {"tool": "tb-plan", "message": "no code"}},
        {"snapshot": {"id": "20261101T000000Z-base"}},
        {"level3": None},
    ],
    ids=str,
)
def test_what_is_not_a_record_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VALIDATOR.validate({**USERS.fields, **changes})


def test_a_source_stands_in_a_record_of_its_own_only_when_it_failed() -> None:
    with pytest.raises(ValidationError):
        VALIDATOR.validate(json.loads(of_source("postgres", "postgres").to_line()))


def test_the_schema_has_the_stages_there_are() -> None:
    assert SCHEMA["$defs"]["target"]["enum"] == list(TARGETS)
    states = {SCHEMA["$defs"]["stage"]["anyOf"][1]["const"], *TARGETS}
    assert states == set(Stage)


@pytest.mark.parametrize(
    "snapshot", ["20261101T031600Z-base", "20261102T031600Z-incr-20261101T031600Z"]
)
def test_the_schema_has_the_ids_of_snapshots(snapshot: str) -> None:
    assert SnapshotId.parse(snapshot) is not None
    assert re.fullmatch(SCHEMA["$defs"]["snapshot_id"]["pattern"], snapshot)


def described() -> dict[str, str]:
    """Return the text of the page for each field."""
    _, *parts = re.split(r"^\.It Cm (.+)\n", PAGE, flags=re.MULTILINE)
    return {
        field: re.split(r"^\.El", text, flags=re.MULTILINE)[0]
        for head, text in zip(parts[::2], parts[1::2], strict=True)
        for field in head.split(" , ")
    }


def test_the_page_describes_exactly_the_fields_of_the_schema() -> None:
    assert sorted(described()) == sorted(SCHEMA["properties"])


@pytest.mark.parametrize(
    "field", [name for name, schema in SCHEMA["properties"].items() if "properties" in schema]
)
def test_the_page_describes_what_is_inside_a_field(field: str) -> None:
    inside = SCHEMA["properties"][field]["properties"]
    assert set(inside) <= set(re.findall(r"^\.Ql (\w+)", described()[field], re.MULTILINE))


def test_the_page_names_every_stage() -> None:
    assert set(Stage) <= set(re.findall(r"^\.Ql (\w+)", described()["stage"], re.MULTILINE))


@pytest.mark.parametrize(
    "text", re.findall(r"^\.Bd -literal.*\n((?:.*\n)*?)\.Ed", PAGE, re.MULTILINE)
)
def test_the_examples_of_the_page_are_records(text: str) -> None:
    fields = json.loads(text)
    VALIDATOR.validate(fields)
    assert Record.parse(text.replace("\n", "").encode()).id == str(ObjectId.parse(fields["id"]))
