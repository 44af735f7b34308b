"""The lines that the tools exchange: a JSON object per object, to which each tool adds."""

import json
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from three_backup.errors import BackupError, readable
from three_backup.model.objects import Carrier, ObjectId
from three_backup.model.stages import Stage

VERSION = 1
_TOO_LARGE = 1 << 64


@dataclass(frozen=True)
class Record:
    """A line as it was read; fields that this program does not know pass through unchanged."""

    fields: Mapping[str, Any]
    # The line without its end; None once a field was changed.
    line: str | None = field(default=None, compare=False, repr=False)

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Parse a line. Raises BackupError if it is not a record of this version."""
        try:
            text = line.removeprefix(BOM_UTF8).decode("utf-8", "surrogatepass").strip()
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _malformed(f"not JSON ({error})") from error
        if not isinstance(fields, dict):
            raise _malformed("not a JSON object")
        if fields.get("v") != VERSION:
            raise _malformed(f'not a record of version {VERSION} (no "v":{VERSION})')
        record = cls(fields, text)
        record._check()
        return record

    @classmethod
    def of(cls, object_id: ObjectId, **fields: Any) -> Self:
        """Make a new record of an object; its names become fields."""
        return cls(
            {
                "v": VERSION,
                "id": str(object_id),
                "type": object_id.type,
                "subtype": object_id.subtype,
                "level1": readable(object_id.level1),
                "level2": readable(object_id.level2),
                "level3": readable(object_id.level3),
                **fields,
            }
        )

    @property
    def id(self) -> str:
        return str(self.fields.get("id", ""))

    @property
    def called(self) -> str:
        """What a person calls it: its id, the selector that matched nothing, the input line."""
        return self.id or str(self.fields.get("select") or f"line {self.fields.get('line')}")

    @cached_property
    def object(self) -> ObjectId:
        """The object. Raises UsageError if the record is not of a single object."""
        return ObjectId.parse(self.id)

    @property
    def carrier(self) -> Carrier:
        return Carrier(self.fields.get("carrier", self.id))

    @property
    def failed(self) -> bool:
        return "error" in self.fields

    @property
    def unsupported(self) -> str | None:
        """Why the object cannot be backed up; no tool acts on it then. None if it can."""
        return self.fields.get("unsupported")

    @property
    def planned(self) -> bool:
        return "todo" in self.fields

    @property
    def todo(self) -> tuple[Stage, ...]:
        return tuple(Stage(stage) for stage in self.fields.get("todo", ()))

    def part(self, name: str) -> Mapping[str, Any]:
        """Return the fields within a field; none where it is missing or something else."""
        fields = self.fields.get(name)
        return fields if isinstance(fields, dict) else {}

    def with_fields(self, **changes: Any) -> "Record":
        return Record({**self.fields, **changes})

    def reached(self, *stages: Stage) -> "Record":
        """Return the record with the stages done: the last is its stage, none is in todo."""
        if not self.planned:
            return self.with_fields(stage=stages[-1])
        left = [stage for stage in self.todo if stage not in stages]
        return self.with_fields(stage=stages[-1], todo=left)

    def with_error(self, tool: str, error: BackupError) -> "Record":
        return self.with_fields(error=error_fields(tool, error))

    def is_named_in(self, sentence: str) -> bool:
        """Whether the sentence itself names the carrier or an id of the record's source."""
        return self.carrier in sentence or sentence.startswith(f"{self.fields.get('type')}/")

    def to_line(self) -> str:
        if self.line is not None:
            return f"{self.line}\n"
        line = json.dumps(self.fields, ensure_ascii=False, separators=(",", ":"))
        return f"{readable(line)}\n"

    def _check(self) -> None:
        if self.failed:
            if not isinstance(self.fields["error"], dict):
                raise _malformed('"error" is not an object')
            return
        if not isinstance(self.fields.get("id"), str):
            raise _malformed('no "id"')
        _check_stages(self.fields)


def number(fields: Mapping[str, Any], name: str) -> int:
    """Return a field that counts something; 0 where it is missing or no such number."""
    value = fields.get(name)
    return value if isinstance(value, int) and 0 <= value < _TOO_LARGE else 0


def error_fields(tool: str, error: BackupError) -> dict[str, str]:
    fields = {"tool": tool, "code": error.code, "message": error.message}
    return {**fields, "hint": error.hint} if error.hint else fields


def malformed_line(tool: str, number: int, error: BackupError) -> Record:
    """Return the record that stands for a malformed input line; number counts from 1."""
    return Record({"v": VERSION, "line": number, "error": error_fields(tool, error)})


def of_selector(pattern: str) -> Record:
    """Return the record of a selector, to report that it matches nothing."""
    return Record({"v": VERSION, "select": pattern})


def of_source(record_id: str, source_type: str, **fields: Any) -> Record:
    """Return the record of a whole source, or of a part of it (`postgres/table/prod`)."""
    return Record({"v": VERSION, "id": record_id, "type": source_type, **fields})


def by_carrier(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Yield the records of each carrier once all have come.

    An object that is its own carrier is yielded at once. A malformed line belongs to no carrier,
    and ends none.
    """
    group: list[Record] = []
    for record in records:
        if group and record.id and record.carrier != group[0].carrier:
            yield group
            group = []
        group.append(record)
        if group[0].carrier == group[0].id:
            yield group
            group = []
    if group:
        yield group


_STAGES = tuple(Stage)
_KINDS = ("base", "incremental", None)


def _check_stages(fields: Mapping[str, Any]) -> None:
    named: list[Any] = [fields[name] for name in ("stage", "max_stage") if name in fields]
    todo = fields.get("todo", [])
    if not isinstance(todo, list):
        raise _malformed('"todo" is not a list')
    _check_each(named + todo, _STAGES, "a stage")
    _check_each([fields.get("take")], _KINDS, "a kind of snapshot")


def _check_each(values: Iterable[Any], allowed: tuple[Any, ...], what: str) -> None:
    for value in values:
        if value not in allowed:
            raise _malformed(f"{value!r} is not {what}")


def _malformed(what: str) -> BackupError:
    return BackupError("input.malformed", what, "feed records as tb-discover prints them")
