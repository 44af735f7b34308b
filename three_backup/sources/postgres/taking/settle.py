"""Decide what a snapshot holds, once the mapping after the backup is known too."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import CarriedObject
from three_backup.sources.postgres.classes import Classes, rose, strictest
from three_backup.sources.postgres.index import File, Form, Group, Tier
from three_backup.sources.postgres.mapping import FileMap, Owner, database_of, relation_of
from three_backup.sources.postgres.taking.packing import PackedGroup, move_groups


@dataclass(frozen=True, slots=True)
class Mapped:
    """An object of either mapping."""

    kind: str
    database: int  # oid
    relations: tuple[str, ...]  # of every table that had its name in either mapping
    stays: bool  # both mappings have it
    rewritten: bool  # both mappings have it, with different relations
    place: Tier  # the strictest of these tables


def settle_files(
    directory: Path, files: Sequence[File], packed: Sequence[PackedGroup], classes: Classes
) -> tuple[dict[str, File], tuple[Group, ...]]:
    """Move every file's bytes to the pack of its final place.

    Return the files by path, and the groups, with their final places.
    """
    places = [_place(file, classes) for file in files]
    of_groups = [Tier.CORE] * len(packed)
    for file, place in zip(files, places, strict=True):
        if file.group is not None:
            of_groups[file.group] = strictest((of_groups[file.group], place))
    groups = move_groups(directory, packed, of_groups)
    return {
        file.path: _settled(file, place if file.group is None else of_groups[file.group])
        for file, place in zip(files, places, strict=True)
    }, groups


def objects_of(before: FileMap, after: FileMap, classes: Classes) -> dict[ObjectId, Mapped]:
    """Return every object of either mapping."""
    kinds = {known.id: known.kind for known in (*before.objects.values(), *after.objects.values())}
    then, now = _owners(before), _owners(after)
    first, last = _relations(before), _relations(after)
    objects = {}
    for object_id, kind in kinds.items():
        owners = list(
            dict.fromkeys(found[object_id] for found in (then, now) if object_id in found)
        )
        relations = [
            path for owner in owners for path in (*first.get(owner, ()), *last.get(owner, ()))
        ]
        stays = object_id in then and object_id in now
        objects[object_id] = Mapped(
            kind,
            owners[-1].database,
            tuple(dict.fromkeys(relations)),
            stays,
            stays and set(first.get(then[object_id], ())) != set(last.get(now[object_id], ())),
            strictest(map(classes.of_owner, owners)),
        )
    return objects


def uncertain_objects(
    objects: Mapping[ObjectId, Mapped], paths: Iterable[str], classes: Classes
) -> dict[ObjectId, str]:
    """Return the objects that may lack a file, each with the path of that file.

    Such an object was rewritten during the backup, and its database has a file that neither
    mapping knows. The file may be the object's, but lies in a stricter place than the object's.
    paths: files that may be that new; a file that the parent has is older.
    """
    unknown: dict[int, str] = {}
    for path in sorted(paths):
        relation = relation_of(path)
        if relation is not None and classes.of_relation(relation) is None:
            unknown.setdefault(database_of(relation), path)
    return {
        object_id: unknown[mapped.database]
        for object_id, mapped in objects.items()
        if mapped.rewritten and mapped.database in unknown
        if rose(classes.of_unknown(mapped.database), mapped.place)
    }


def carried_objects(
    objects: Mapping[ObjectId, Mapped],
    doubtful: Container[ObjectId],
    files: Mapping[str, File],
    block_size: int,
) -> tuple[CarriedObject, ...]:
    """Return the enabled objects that certainly exist when the backup ends, without doubtful ones.

    An object that was created, dropped or renamed during the backup may be in it or not. The next
    snapshot promises it, this one does not.
    """
    sizes: dict[str | None, int] = {}
    for file in files.values():
        relation = relation_of(file.path)
        sizes[relation] = sizes.get(relation, 0) + source_size(file, block_size)
    return tuple(
        CarriedObject(
            object_id,
            sum(sizes.get(relation, 0) for relation in mapped.relations),
            {"kind": mapped.kind, "class": mapped.place.value},
        )
        for object_id, mapped in sorted(objects.items())
        if mapped.stays and mapped.place is not Tier.NONE and object_id not in doubtful
    )


def source_size(file: File, block_size: int) -> int:
    """Return the file's bytes at the source, however many of them were sent."""
    return file.size if file.blocks is None else file.blocks * block_size


def _owners(found: FileMap) -> dict[ObjectId, Owner]:
    return {known.id: owner for owner, known in found.objects.items()}


def _relations(found: FileMap) -> dict[Owner, list[str]]:
    relations: dict[Owner, list[str]] = {}
    for relation, owner in found.owners.items():
        if owner is not None:
            relations.setdefault(owner, []).append(relation)
    return relations


def _place(file: File, classes: Classes) -> Tier:
    relation = relation_of(file.path)
    if relation is None:
        return Tier.CORE
    return classes.of_relation(relation) or classes.of_unknown(database_of(relation))


def _settled(file: File, place: Tier) -> File:
    if place is Tier.NONE:
        return replace(file, form=Form.LEFT_OUT, place=place, group=None, offset=0, digest=None)
    return file if file.place is place else replace(file, place=place)
