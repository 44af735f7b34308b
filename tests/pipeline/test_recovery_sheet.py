"""What the recovery sheet says is enough, with nothing else of the host left."""

import re
import shutil

from tests.pipeline.conftest import Host

_SECTION = re.compile(r'^ {7}(- "\*":\n(?: {11}.*\n)+)', re.MULTILINE)


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
    (section,) = _SECTION.findall(sheet)
    ours = f"    local_dir: {host.folder / 'new'}\n    pg_bindir: {host.server.bindir}\n"
    host.config.write_text(re.sub("^ {7}", "", section, flags=re.MULTILINE) + ours)
    host.execute("drop table orders")
    host.good(f"tb-restore {host.table('orders')}")
    assert host.rows("select count(*) from orders") == [(100,)]
    shutil.rmtree(host.folder / "new")


def test_without_a_bucket_there_is_no_way_back_to_print(host: Host) -> None:
    host.config.write_text(f'- "*":\n    local_dir: {host.local_dir}\n')
    outcome = host.sh("tb-check --recovery-sheet")
    assert (outcome.status, outcome.stdout) == (78, "")
    assert "set s3_bucket" in outcome.stderr
