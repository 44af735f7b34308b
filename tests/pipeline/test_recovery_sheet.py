"""What the recovery sheet says is enough, with nothing else of the host left."""

import re
import shutil

from tests.pipeline.conftest import Host

_SECTIONS = re.compile(r"^ {7}- .*\n(?: {7,}.*\n)+", re.MULTILINE)


def follow(host: Host, sheet: str) -> None:
    """Write the configuration that the sheet has; it ends with a section of everything."""
    (sections,) = _SECTIONS.findall(sheet)
    ours = f"    local_dir: {host.folder / 'new'}\n    pg_bindir: {host.server.bindir}\n"
    written = re.sub("^ {7}", "", sections, flags=re.MULTILINE)
    host.config.write_text(written.replace('- "*":\n', f'- "*":\n{ours}'))


def test_a_new_host_restores_with_the_sheet_alone(host: Host) -> None:
    (host.folder / "signing.key").write_text("5a" * 32 + "\n" + "6b" * 32 + "\n")
    (host.folder / "signing.key").chmod(0o600)
    (host.folder / "encryption.key").write_text("7c" * 32)
    (host.folder / "encryption.key").chmod(0o600)
    host.configure(
        manifest_key_file=host.folder / "signing.key",
        encryption_key_file=host.folder / "encryption.key",
    )
    host.execute("create table orders as select n as id from generate_series(1, 100) n")
    host.good("tb-run")
    sheet = host.good("tb-check --recovery-sheet").stdout
    assert re.search(r"postgres/cluster/\d+: 1 snapshot, the newest of 20", sheet)
    host.wipe()
    (host.folder / "signing.key").unlink()
    (host.folder / "encryption.key").unlink()
    follow(host, sheet)
    host.execute("drop table orders")
    host.good(f"tb-restore {host.table('orders')}")
    assert host.rows("select count(*) from orders") == [(100,)]
    shutil.rmtree(host.folder / "new")


def test_a_new_host_restores_with_the_sheet_alone_when_the_first_store_is_gone(host: Host) -> None:
    host.s3.create_bucket("safe")
    s3 = host.s3
    keys = f"s3_access_key: {s3.access_key}\n        s3_secret_key: {s3.secret_key}\n"
    place = f"s3_endpoint: {s3.endpoint}\n        s3_bucket: safe\n        {keys}"
    stores = f"- stores:\n    vault:\n        {place}        encryption_key: {'8d' * 32}\n"
    host.configure(stores, copy_to="vault", encryption_key="7c" * 32)
    with host.config.open("a") as config:
        config.write('- "postgres/*":\n    s3_prefix: elsewhere\n')
    host.execute("create table orders as select n as id from generate_series(1, 100) n")
    host.good("tb-run")
    sheet = host.good("tb-check --recovery-sheet").stdout
    host.wipe()
    s3.delete_bucket(host.bucket)
    follow(host, sheet)
    assert '- "postgres/*":\n    s3_endpoint' in host.config.read_text()
    host.execute("drop table orders")
    host.good(f"tb-restore --store vault {host.table('orders')}")
    assert host.rows("select count(*) from orders") == [(100,)]
    shutil.rmtree(host.folder / "new")
    s3.create_bucket(host.bucket)
    s3.delete_bucket("safe")


def test_without_a_bucket_there_is_no_way_back_to_print(host: Host) -> None:
    host.config.write_text(f'- "*":\n    local_dir: {host.local_dir}\n')
    outcome = host.sh("tb-check --recovery-sheet")
    assert (outcome.status, outcome.stdout) == (78, "")
    assert "set s3_bucket" in outcome.stderr
