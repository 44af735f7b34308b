"""The SQL statements as they are sent."""

from pathlib import Path

import pytest

from three_backup.config.settings import Settings
from three_backup.demo.clickhouse import ClickhouseServer
from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.model.storage import Storage
from three_backup.sources.clickhouse import sql
from three_backup.sources.clickhouse.options import cluster_of

STORAGE = Storage(
    Path("/"), "https://s3.example.com", "backups", "host", access_key="AK", secret_key="it's"
)
HITS = ObjectId("clickhouse", "table", "prod", "shop", "hits")


def test_names_and_texts_are_quoted_on_one_line() -> None:
    assert str(sql.Relation("a`b", "c\nd\\")) == r"`a\`b`.`c\nd\\`"
    assert sql.literal("it's\t\\") == r"'it\'s\t\\'"


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "S3('https://s3.example.com/backups/host/data/x')"),
        ({"prefix": ""}, "S3('https://s3.example.com/backups/data/x')"),
        ({"addressing_style": "virtual"}, "S3('https://backups.s3.example.com/host/data/x')"),
        ({"endpoint": None}, "S3('https://s3.amazonaws.com/backups/host/data/x')"),
        (
            {"endpoint": None, "region": "eu-west-1"},
            "S3('https://s3.eu-west-1.amazonaws.com/backups/host/data/x')",
        ),
    ],
)
def test_a_place_is_shown_without_keys(changes: dict[str, str], shown: str) -> None:
    from dataclasses import replace

    place = sql.place(replace(STORAGE, **changes), "data/x")  # type: ignore[arg-type]
    assert place.shown == shown
    assert place.secret == shown[:-1] + r", 'AK', 'it\'s')"


def test_a_named_collection_stands_for_bucket_and_keys() -> None:
    place = sql.place(STORAGE, "data/x", "backups")
    assert place.shown == place.secret == "S3(backups, 'host/data/x')"


def test_without_keys_the_server_uses_its_own() -> None:
    place = sql.place(Storage(Path("/"), "http://s3", "b"), "data/x")
    assert place.secret == "S3('http://s3/b/data/x')"


def test_a_cluster_is_backed_up_and_restored_as_one_if_the_configuration_says_so() -> None:
    everywhere = cluster_of(HITS, Settings(STORAGE, clickhouse_on_cluster=True))
    place = sql.S3Folder("S3('here')", "S3('here', 'a', 'b')")
    of, under = sql.relation(HITS), sql.Relation("shop", "copy")
    assert sql.backup(of, place, {"id": "x", "n": 1}, place, everywhere) == (
        "BACKUP TABLE `shop`.`hits` ON CLUSTER 'prod' TO S3('here', 'a', 'b') "
        "SETTINGS base_backup = S3('here', 'a', 'b'), id = 'x', n = 1 ASYNC"
    )
    assert sql.restore(of, under, place, {"id": "x"}, None, everywhere) == (
        "RESTORE TABLE `shop`.`hits` AS `shop`.`copy` ON CLUSTER 'prod' "
        "FROM S3('here', 'a', 'b') SETTINGS id = 'x'"
    )
    assert sql.exchange(of, under, everywhere).endswith(" ON CLUSTER 'prod'")
    assert sql.rename([(of, under)], everywhere).endswith(" ON CLUSTER 'prod'")
    assert sql.drop(of, everywhere, dictionary=False) == (
        "DROP TABLE IF EXISTS `shop`.`hits` ON CLUSTER 'prod' SYNC "
        "SETTINGS max_table_size_to_drop = 0"
    )


def test_each_host_backs_up_its_own_shard_otherwise() -> None:
    assert cluster_of(HITS, Settings(STORAGE)) == ""


@pytest.mark.parametrize("style", ["path", "virtual"])
@pytest.mark.parametrize(
    "host",
    [
        "s3.example.com",
        "s3.ru-1.storage.selcloud.ru",
        "storage.yandexcloud.net",
        "storage.googleapis.com",
        "fsn1.your-objectstorage.com",
        "account.r2.cloudflarestorage.com",
        "s3.eu-central-003.backblazeb2.com",
        "s3.amazonaws.com",
        "cos.ap-x.myqcloud.com",
        "oss-cn-hangzhou.aliyuncs.com",
        "obs.cn.example.com",
        "127.0.0.1:9000",
        "minio:9000",
        "my.s3.example.com",
        "my.minio.example.com",
    ],
)
def test_a_server_finds_the_bucket_in_the_url(
    live: ClickhouseServer, host: str, style: str
) -> None:
    storage = Storage(Path("/"), f"http://{host}", "bu", "pre", addressing_style=style)
    if host == "my.s3.example.com":
        with pytest.raises(BackupError, match="takes my for the bucket"):
            sql.place(storage, "key")
        return
    url = sql.place(storage, "key").shown.removeprefix("S3(").removesuffix(")")
    with pytest.raises(BackupError) as refused:  # a bucket of two letters is never asked for
        live.execute(f"SELECT * FROM s3({url}, 'a', 'b', 'CSV', 'x Int8')")
    assert "Bucket name length is out of bounds" in str(refused.value)
    assert "'bu'" in str(refused.value)


def test_an_endpoint_with_a_path_is_refused() -> None:
    storage = Storage(Path("/"), "https://store.example.com/s3/v1", "bucket")
    with pytest.raises(BackupError, match="takes s3 for the bucket"):
        sql.place(storage, "key")


def test_what_keeps_its_name_is_not_renamed() -> None:
    users = sql.Relation("system", "users")
    how = {"create_access": "replace"}
    sent = sql.restore(users, users, sql.S3Folder("S3('u')", "S3('u')"), how, None, "")
    assert sent == (
        "RESTORE TABLE `system`.`users` FROM S3('u') SETTINGS create_access = 'replace'"
    )
