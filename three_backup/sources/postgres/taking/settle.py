"""What a snapshot holds in the end, when the mapping after the backup is known too."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import CarriedObject
from three_backup.sources.postgres.classes import Classes, rose, strictest
from three_backup.sources.postgres.index import File, Form, Group, Place
from three_backup.sources.postgres.mapping import FileMap, Owner, database_of, relation_of
from three_backup.sources.postgres.taking.packing import PackedGroup, move_groups


@dataclass(frozen=True, slots=True)
class Mapped:
    """An object of either mapping. database: its oid; relations: of every table that ever had its
    name; stays, rewritten: both mappings have it, with other relations; place: the strictest of
    these tables."""

    kind: str
    database: int
    relations: tuple[str, ...]
    stays: bool
    rewritten: bool
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
    kinds = {known.id: known.kind for known in (*before.objects.values(), *after.objects.values())}
    then, now = _owners(before), _owners(after)
    first, last = _relations(before), _relations(after)
    objects = {}
    for id, kind in kinds.items():
        owners = list(dict.fromkeys(found[id] for found in (then, now) if id in found))
        relations = [path for one in owners for path in (*first.get(one, ()), *last.get(one, ()))]
        stays = id in then and id in now
        objects[id] = Mapped(
            kind,
            owners[-1].database,
            tuple(dict.fromkeys(relations)),
            stays,
            stays and set(first.get(then[id], ())) != set(last.get(now[id], ())),
            strictest(map(classes.of_owner, owners)),
        )
    return objects


def uncertain_objects(
    objects: Mapping[ObjectId, Mapped], paths: Iterable[str], classes: Classes
) -> dict[ObjectId, str]:
    """Those that got other files while the backup ran, where a file that neither mapping knows
    was kept closer than they may be wanted: it may be theirs. With the path of that file.

    paths: of files that may be so new; what a parent had lay there before.
    """
    unknown: dict[int, str] = {}
    for path in sorted(paths):
        relation = relation_of(path)
        if relation is not None and classes.of_relation(relation) is None:
            unknown.setdefault(database_of(relation), path)
    return {
        id: unknown[mapped.database]
        for id, mapped in objects.items()
        if mapped.rewritten and mapped.database in unknown
        if rose(classes.of_unknown(mapped.database), mapped.place)
    }


def carried_objects(
    objects: Mapping[ObjectId, Mapped],
    doubtful: Container[ObjectId],
    files: Mapping[str, File],
    block_size: int,
) -> tuple[CarriedObject, ...]:
    """The enabled objects that exist for certain where the backup ends, without doubtful ones.

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
        if mapped.stays and mapped.place is not Place.NONE and id not in doubtful
    )


def source_size(file: File, block_size: int) -> int:
    """The bytes that the file has at the source, however much of it was sent."""
    return file.size if file.blocks is None else file.blocks * block_size


def _owners(found: FileMap) -> dict[ObjectId, Owner]:
    return {known.id: owner for owner, known in found.objects.items()}


def _relations(found: FileMap) -> dict[Owner, list[str]]:
    relations: dict[Owner, list[str]] = {}
    for relation, owner in found.owners.items():
        if owner is not None:
            relations.setdefault(owner, []).append(relation)
    return relations


def _place(file: File, classes: Classes) -> Place:
    relation = relation_of(file.path)
    if relation is None:
        return Place.CORE
    return classes.of_relation(relation) or classes.of_unknown(database_of(relation))


def _settled(file: File, place: Place) -> File:
    if place is Place.NONE:
        return replace(file, form=Form.LEFT_OUT, place=place, group=None, offset=0, digest=None)
    return file if file.place is place else replace(file, place=place)
