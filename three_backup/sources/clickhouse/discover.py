"""Lists the tables and views of a server."""

from collections.abc import Iterator, Sequence

from three_backup.config.settings import Settings
from three_backup.model.objects import Carrier, selected
from three_backup.sources.base import Found
from three_backup.sources.clickhouse.client import connect
from three_backup.sources.clickhouse.relations import TYPE, all_relations, read_server


def discover(patterns: Sequence[str], settings: Settings) -> Iterator[Found]:
    """Every table and view that a pattern selects."""
    client = connect(TYPE)
    server = read_server(client, settings)
    for found in all_relations(client, settings):
        object_id = found.object_id(server.cluster)
        if selected(patterns, str(object_id)):
            facts = {**found.facts, "server": server.version}
            yield Found(object_id, found.size, Carrier(object_id), facts)
