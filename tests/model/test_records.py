"""Records: the lines that the tools exchange."""

import json

import pytest

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.model.records import Record
from three_backup.model.stages import Stage

USERS = ObjectId("postgres", "table", "prod", "public", "users")


def parse(**fields: object) -> Record:
    return Record.parse(json.dumps({"v": 1, "id": str(USERS), **fields}).encode())


def test_unknown_fields_pass_through_unchanged_and_in_order() -> None:
    line = '{"v":1,"id":"a/b/c/d/e","later":{"x":[1.5,null]},"size":7}\n'
    assert Record.parse(line.encode()).to_line() == line


def test_names_are_readable() -> None:
    record = Record.of(ObjectId("postgres", "table", "продажи", "public", "a/b"))
    assert '"id":"postgres/table/продажи/public/a%2Fb"' in record.to_line()
    assert record.fields["level3"] == "a/b"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"7", "not a JSON object"),
        (b"{}", "not a record of version 1"),
        (b'{"v":2,"id":"a/b/c/d/e"}', "not a record of version 1"),
        (b'{"v":1}', 'no "id"'),
        (b'{"v":1,"id":7}', 'no "id"'),
        (b'{"v":1,"id":"x","todo":"synced_s3"}', '"todo" is not a list'),
        (b'{"v":1,"id":"x","todo":["dance"]}', "'dance' is not a stage"),
        (b'{"v":1,"id":"x","max_stage":7}', "7 is not a stage"),
        (b'{"v":1,"id":"x","take":"some"}', "'some' is not a kind of snapshot"),
        (b'{"v":1,"id":"x","error":"bad"}', '"error" is not an object'),
    ],
)
def test_what_is_not_a_record_is_refused(line: bytes, what: str) -> None:
    with pytest.raises(BackupError, match=what):
        Record.parse(line)


def test_a_reached_stage_is_left_out_of_todo() -> None:
    record = parse(stage="exists", todo=["snapshot_base", "synced_s3", "rotated_s3"])
    reached = record.reached(Stage.SNAPSHOT_BASE)
    assert reached.fields["stage"] == "snapshot_base"
    assert reached.todo == (Stage.SYNCED_S3, Stage.ROTATED_S3)


def test_an_error_names_its_tool_and_the_remedy() -> None:
    error = BackupError("s3.denied", "the bucket is closed", "open it")
    record = parse().with_error("tb-upload", error)
    assert record.failed
    assert record.fields["error"] == {
        "tool": "tb-upload",
        "code": "s3.denied",
        "message": "the bucket is closed",
        "hint": "open it",
    }


def test_the_carrier_is_the_object_itself_unless_another_is_named() -> None:
    assert parse().carrier == str(USERS)
    assert parse(carrier="postgres/cluster/1").carrier == "postgres/cluster/1"
