"""What a snapshot holds in the end, when the mapping after the backup is known too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from three_backup.objects import ObjectId
from three_backup.snapshots import CarriedObject
from three_backup.sources.postgres.classes import Classes, strictest
from three_backup.sources.postgres.index import File, Form, Group, Place
from three_backup.sources.postgres.mapping import FileMap, Owner, relation_of
from three_backup.sources.postgres.taking.packing import PackedGroup, move_groups


@dataclass(frozen=True, slots=True)
class Mapped:
    """An object of either mapping. relations: of every table that ever had its name;
    stays: both mappings have it; place: the strictest of these tables."""

    kind: str
    relations: tuple[str, ...]
    stays: bool
    place: Place


def settle_files(
    directory: Path, files: Sequence[File], packed: Sequence[PackedGroup], classes: Classes
) -> tuple[dict[str, File], tuple[Group, ...]]:
    """Every file with its final place, and its bytes in the pack of that place."""
    places = [_place(file, classes) for file in files]
    of_groups = [Place.CORE] * len(packed)
    for file, place in zip(files, places, strict=True):
        if file.group is not None:
            of_groups[file.group] = strictest((of_groups[file.group], place))
    groups = move_groups(directory, packed, of_groups)
    return {
        file.path: _settled(file, place if file.group is None else of_groups[file.group])
        for file, place in zip(files, places, strict=True)
    }, groups


def objects_of(before: FileMap, after: FileMap, classes: Classes) -> dict[ObjectId, Mapped]:
    """Every object of either mapping."""
    owners: dict[ObjectId, list[Owner]] = {}
    for owner, known in chain(before.objects.items(), after.objects.items()):
        owners.setdefault(known.id, []).append(owner)
    relations: dict[Owner | None, dict[str, None]] = {}
    for relation, owned_by in chain(before.owners.items(), after.owners.items()):
        relations.setdefault(owned_by, {})[relation] = None
    kinds = {known.id: known.kind for known in (*before.objects.values(), *after.objects.values())}
    both = {known.id for known in before.objects.values()} & {
        known.id for known in after.objects.values()
    }
    return {
        id: Mapped(
            kinds[id],
            tuple(dict.fromkeys(path for owner in found for path in relations.get(owner, ()))),
            id in both,
            strictest(map(classes.of_owner, found)),
        )
        for id, found in owners.items()
    }


def carried_objects(
    objects: Mapping[ObjectId, Mapped], files: Mapping[str, File], block_size: int
) -> tuple[CarriedObject, ...]:
    """The enabled objects that exist for certain where the backup ends.

    One that came or went, or was renamed, while the backup ran may be in it or not: it is
    promised by the next snapshot, not by this one.
    """
    sizes: dict[str | None, int] = {}
    for file in files.values():
        relation = relation_of(file.path)
        sizes[relation] = sizes.get(relation, 0) + source_size(file, block_size)
    return tuple(
        CarriedObject(
            id,
            sum(sizes.get(relation, 0) for relation in mapped.relations),
            {"kind": mapped.kind, "class": mapped.place.value},
        )
        for id, mapped in sorted(objects.items())
        if mapped.stays and mapped.place is not Place.NONE
    )


def source_size(file: File, block_size: int) -> int:
    """The bytes that the file has at the source, however much of it was sent."""
    return file.size if file.blocks is None else file.blocks * block_size


def _place(file: File, classes: Classes) -> Place:
    relation = relation_of(file.path)
    if relation is None:
        return Place.CORE
    return classes.of_relation(relation) or classes.unknown


def _settled(file: File, place: Place) -> File:
    if place is Place.NONE:
        return replace(file, form=Form.LEFT_OUT, place=place, group=None, offset=0, digest=None)
    return file if file.place is place else replace(file, place=place)
