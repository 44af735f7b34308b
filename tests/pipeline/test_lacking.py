"""A record names a snapshot only if that snapshot holds its object."""

from tests.pipeline.conftest import Host


def test_a_table_that_is_dropped_after_it_was_listed_is_no_failure(host: Host) -> None:
    host.execute("create table going as select 1 as id")
    host.execute("create table staying as select 1 as id")
    (host.folder / "plan").write_text(host.good("tb-discover | tb-plan").stdout)
    host.execute("drop table going")
    outcome = host.good("tb-snapshot < plan | tb-upload")
    records = {record["id"]: record for record in outcome.records}
    going, staying = records[host.table("going")], records[host.table("staying")]
    assert (going["stage"], going["todo"]) == ("exists", [])
    assert going["why"] == "it is gone at the source"
    assert "snapshot" not in going
    assert staying["stage"] == "synced_s3"


def test_a_database_that_is_closed_after_it_was_listed_fails_its_tables_alone(
    host: Host,
) -> None:
    other = f"{host.database}_other"
    host.execute(f"create database {other}")
    host.execute("create table lost as select 1 as id", other)
    host.execute("create table staying as select 1 as id")
    (host.folder / "listed").write_text(host.good("tb-discover").stdout)
    host.execute(f"alter database {other} allow_connections false")
    outcome = host.sh("tb-snapshot < listed")
    assert outcome.status == 1
    records = {record["id"]: record for record in outcome.records}
    lost = records[f"postgres/table/{other}/public/lost"]
    assert lost["error"]["code"] == "snapshot.lacks"
    assert lost["error"]["message"].endswith(f'database "{other}" takes no connections')
    assert "ALLOW_CONNECTIONS true" in lost["error"]["hint"]
    assert records[host.table("staying")]["stage"] == "snapshot_base"
    assert sum("error" in record for record in records.values()) == 1


def test_a_database_whose_connections_are_in_use_fails_its_tables_alone(host: Host) -> None:
    role, other = f"backing_{host.database}", f"{host.database}_other"
    host.execute(f"create database {other}")
    host.execute("create table staying as select 1 as id", other)
    host.execute("create table wanted as select 1 as id")
    host.execute(f"create role {role} login replication")
    host.execute(f"alter database {host.database} connection limit 1")
    environ = {"PGUSER": role}
    try:
        listed = host.sh("tb-discover", environ=environ).stdout
        with host.connect():
            outcome = host.sh("tb-snapshot", listed, environ)
        assert outcome.status == 1
        records = {record["id"]: record for record in outcome.records}
        assert records[host.table("wanted")]["error"]["code"] == "snapshot.lacks"
        assert f'or database "{host.database}"' in records[host.table("wanted")]["error"]["hint"]
        assert records[f"postgres/table/{other}/public/staying"]["stage"] == "snapshot_base"
        assert host.sh("tb-snapshot", listed, environ).status == 0
    finally:
        host.execute(f"drop role {role}")
