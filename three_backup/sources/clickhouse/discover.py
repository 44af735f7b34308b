"""Lists the tables and views of a server."""

from collections.abc import Iterator, Sequence

from three_backup.model.objects import selected
from three_backup.sources.base import Found
from three_backup.sources.clickhouse.client import connect
from three_backup.sources.clickhouse.relations import TYPE, all_relations, read_server


def discover(patterns: Sequence[str]) -> Iterator[Found]:
    """Every table and view that a pattern selects."""
    client = connect(TYPE)
    server = read_server(client)
    for found in all_relations(client):
        id = found.object_id(server.cluster)
        if selected(patterns, str(id)):
            yield Found(id, found.size, str(id), {**found.facts, "server": server.version})
