"""Files of a snapshot are shown, are open for a while, and are compared, by its point in the pool
and by S3 alone. Nothing is left.
"""

import hashlib
import json
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.house.test_pages import ROOT, section
from tests.lab.lab import Lab
from tests.lab.terminal import on_terminal
from tests.lxd import inside
from tests.lxd.conftest import LxdHost
from tests.pipeline.conftest import Host, Outcome
from three_backup.errors import Exit
from three_backup.host.machine import host_id
from three_backup.sources.lxd.daemon.names import LOOKING

WEB = "lxd/container/default/default/web"
STORE = "lxd/volume/default/default/store"
DISK = "lxd/volume/default/default/disk"
DATASET = "tank/lxd/containers/web"
TAKE = f"tb-discover -s {WEB} -s {STORE} -s {DISK} | tb-snapshot"
_SHIFT = 1_000_000
_IDMAP = [{"Isuid": True, "Isgid": True, "Hostid": _SHIFT, "Nsid": 0, "Maprange": 65536}]
_FILL = f"""
mkdir -p rootfs/etc/nginx/sites
echo 'worker_processes 1;' > rootfs/etc/nginx/nginx.conf
ln rootfs/etc/nginx/nginx.conf rootfs/etc/nginx/twin
ln -s ../nginx.conf rootfs/etc/nginx/sites/default
ln -s /etc/nginx/nginx.conf rootfs/etc/conf
ln -s /var/lib/lxd rootfs/etc/out
truncate -s 50M rootfs/etc/nginx/sparse
printf x > "rootfs/etc/nginx/$(printf '\\303\\251t\\351')"
mknod rootfs/etc/nginx/null c 1 3
mkfifo rootfs/etc/nginx/fifo
chown -Rh {_SHIFT}:{_SHIFT} rootfs
chown {_SHIFT + 33}:{_SHIFT + 44} rootfs/etc/nginx/nginx.conf
setfacl -m u:{_SHIFT + 7}:r rootfs/etc/nginx/nginx.conf
setcap cap_net_raw+ep rootfs/bin/busybox
head -c 3000000 /dev/urandom > rootfs/noise
echo 127.0.0.1 localhost > rootfs/etc/hosts
echo 1 > rootfs/version
"""
_FILL_STORE = """mkdir data; echo kept > data/word; touch "data/$(printf '\\033[31mred')" """


@dataclass(frozen=True)
class Looks:
    """The host that looks, and what it saw while the points were there."""

    host: LxdHost
    seen: dict[str, Outcome]

    def cat(self, options: str, *ids: str) -> Outcome:
        return self.host.sh(f"tb-cat {options} {' '.join(ids or (WEB,))}")

    def good(self, options: str, *ids: str) -> str:
        outcome = self.cat(options, *ids)
        assert (outcome.status, outcome.stderr) == (0, "")
        return outcome.stdout

    @property
    def snapshots(self) -> list[str]:
        listed = self.host.good(f"tb-list --stored --snapshots --json -s {WEB}").records
        return [one["id"] for one in listed[0]["snapshots"]]

    def tar(self, options: str, *ids: str) -> tarfile.TarFile:
        self.good(f"{options} > out.tar", *ids)
        return tarfile.open(self.host.folder / "out.tar")


_SEEN = ("--list", "--path etc/nginx")


@pytest.fixture(scope="module")
def looks(host: Host, lab: Lab) -> Looks:
    """A chain of three in S3 and in the pool: a container with shifted owners, and volumes."""
    assert isinstance(host, LxdHost)
    inside.install_tree_reader(lab)
    lab.sh(
        "lxc init tiny web && lxc storage volume create default store"
        " && lxc storage volume create default disk --type=block size=8MB"
    )
    lab.sh(f"lxc config set web volatile.last_state.idmap='{json.dumps(_IDMAP)}'")
    inside.change(lab, DATASET, _FILL)
    inside.change(lab, "tank/lxd/custom/default_store", _FILL_STORE)
    host.good(f"{TAKE} --base | tb-upload")
    for number in (2, 3):
        inside.change(lab, DATASET, f"echo {number} > rootfs/version; rm -f rootfs/noise")
        host.good(f"{TAKE} --incremental | tb-upload")
    found = Looks(host, {})
    with lab.calls() as calls:
        for options in _SEEN:
            found.seen[options] = host.sh(f"tb-cat {options} {WEB} | base64 -w0")
    assert not any("receive" in call for call in calls)
    return found


def left(lab: Lab) -> str:
    return lab.sh(
        "zfs list -Ho name -r tank/lxd | grep tb- || true; grep /mnt /proc/mounts || true"
    )


def test_a_point_in_the_pool_is_read_where_it_is(looks: Looks, lab: Lab) -> None:
    lab.sh("touch /mnt/something-of-the-host")
    assert looks.good("--path version") == "3\n"
    lab.sh("rm /mnt/something-of-the-host")
    assert [looks.good(f"--snapshot {one} --path version") for one in looks.snapshots] == [
        "1\n",
        "2\n",
        "3\n",
    ]
    assert looks.good("--path data/word", STORE) == "kept\n"
    assert ".zfs" in looks.cat("--path .zfs/snapshot", STORE).stderr
    assert left(lab) == ""


def test_names_have_what_ls_shows_with_the_owners_within(looks: Looks) -> None:
    lines = [json.loads(line) for line in looks.good("--list --path etc/nginx").splitlines()]
    names = {line["path"]: line for line in lines}
    assert list(names) == [
        "etc/nginx",
        *(f"etc/nginx/{name}" for name in ("fifo", "nginx.conf", "null", "sites")),
        "etc/nginx/sites/default",
        *(f"etc/nginx/{name}" for name in ("sparse", "twin", "ét%E9")),
    ]
    conf = names["etc/nginx/nginx.conf"]
    assert (conf["type"], conf["uid"], conf["gid"], conf["size"]) == ("file", 33, 44, 20)
    assert (names["etc/nginx"]["uid"], names["etc/nginx/null"]["device"]) == (0, "1:3")
    assert names["etc/nginx/sites/default"]["target"] == "../nginx.conf"


def test_a_folder_is_a_tar_with_all_that_its_files_have(looks: Looks, tmp_path: Path) -> None:
    with looks.tar("--path etc/nginx") as tar:
        members = {member.name: member for member in tar}
        twin, conf = members["etc/nginx/twin"], members["etc/nginx/nginx.conf"]
        assert (twin.islnk(), twin.linkname) == (True, conf.name)
        assert (conf.uid, conf.gid) == (33, 44)
        assert "user:7:r--" in conf.pax_headers["SCHILY.acl.access"]
        assert members["etc/nginx/sparse"].issparse()
        assert members["etc/nginx/null"].ischr()
    assert (looks.host.folder / "out.tar").stat().st_size < 100_000
    with looks.tar("--path bin") as tar:
        programs = {member.name: member for member in tar}
    assert "SCHILY.xattr.security.capability" in programs["bin/busybox"].pax_headers


def test_links_lead_within_the_container_and_never_out_of_it(looks: Looks) -> None:
    assert looks.good("--path /etc/conf") == "worker_processes 1;\n"
    outside = looks.cat("--path etc/out/unix.socket")
    assert (outside.status, outside.stdout) == (1, "")
    assert "etc/out/unix.socket: there is no var/lib; --list names" in outside.stderr


def test_several_objects_are_a_line_a_name_a_tar_or_a_folder(looks: Looks) -> None:
    lines = [json.loads(line) for line in looks.good("--list", WEB, STORE).splitlines()]
    assert {(line["id"], line["path"]) for line in lines} >= {(STORE, "data/word")}
    words = {line["id"] for line in lines}
    assert len(words) == 2
    with looks.tar("--path /", STORE, WEB) as tar:
        assert tar.getnames() == ["default.default.store.tar", "default.default.web.tar"]
        found = tar.extractfile("default.default.store.tar")
        assert found is not None
        with tarfile.open(fileobj=BytesIO(found.read())) as inner:
            assert inner.getnames()[-1] == "./data/word".removeprefix("./")
    looks.good("--path version --dir out")
    assert (looks.host.folder / "out/default.default.web.version").read_text() == "3\n"


@pytest.mark.parametrize(
    ("options", "wanted", "status", "sentence"),
    [
        ("--list", DISK, 1, "it is a disk of blocks, and not a tree of files; --definition"),
        ("", WEB, 1, "it has files, not rows; --list names them, --path etc/hosts shows one"),
        ("--path etc/nginx/null", WEB, 1, "etc/nginx/null is neither a file nor a folder"),
        ("--path version/x", WEB, 1, "version is no folder; --list"),
        ("--path etc --columns id", WEB, 2, "--path shows no rows; leave out"),
        ("--list --definition", WEB, 2, "--definition and --list exclude one another"),
    ],
)
def test_what_is_asked_for_wrongly_is_said_with_the_remedy(
    looks: Looks, options: str, wanted: str, status: int, sentence: str
) -> None:
    outcome = looks.cat(options, wanted)
    assert (outcome.status, outcome.stdout) == (status, "")
    assert sentence in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_a_terminal_shows_a_table_without_control_characters_and_no_tar(looks: Looks) -> None:
    def shown(options: str) -> tuple[int, str]:
        argv = ("/bin/sh", "-c", looks.host.words.own(f"tb-cat {options} {STORE}"))
        return on_terminal(argv, looks.host.environ, stdout=True)

    status, text = shown("--list --path data --progress never")
    assert status == 0
    assert [line.split()[-1] for line in text.splitlines()] == [
        "data",
        "data/%1B[31mred",
        "data/word",
    ]
    assert text.splitlines()[2].startswith("-rw-r--r--  0:0              5 B  20")
    status, text = shown("--path data --progress never")
    assert status == 1
    assert "a folder makes a tar, which is not for a terminal; redirect it" in text


def test_the_examples_of_the_page_work_as_printed(looks: Looks) -> None:
    text = section((ROOT / "man/tb-cat.1").read_text(), "EXAMPLES").replace(r"\(dq", '"')
    examples = re.findall(r"^\.Dl (.*lxd/container.*)$", text, re.MULTILINE)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for example in examples:
        outcome = looks.host.sh(re.sub(r"\d{4}-\d\d-\d\d", f"{tomorrow:%Y-%m-%d}", example))
        assert outcome.status == 0, outcome.stderr
    assert len(examples) == 4
    assert (looks.host.folder / "etc/nginx/nginx.conf").exists()


def test_an_open_container_is_a_folder_that_nobody_writes_until_the_tool_ends(
    looks: Looks, lab: Lab
) -> None:
    with opened(looks, WEB) as (process, (record,)):
        folder = record["opened"]["folder"]
        assert lab.sh(f"cat {folder}/version; ls {folder}/etc/nginx | wc -l") == "3\n7\n"
        assert "Read-only" in lab.sh(f"touch {folder}/version 2>&1 || true")
        process.terminate()
        assert process.wait() == Exit.TERMINATED
    assert lab.sh(f"ls {folder} 2>/dev/null || true") == ""


def test_two_snapshots_and_what_is_live_are_compared_by_paths(looks: Looks, lab: Lab) -> None:
    same = looks.host.good(f"tb-diff {WEB} {STORE}").records
    assert [record["difference"]["equal"] for record in same] == [True, True]
    assert same[0]["difference"]["bytes_read"] == 0
    change = "echo more >> data/word; touch data/new; setfattr -n user.x -v y data"
    inside.change(lab, "tank/lxd/custom/default_store", change)
    lab.sh("lxc config set web limits.memory=100MB")
    lab.sh(f"zfs snapshot {DATASET}@{_of_a_killed_one()}")
    outcome = looks.host.sh(f"tb-diff {WEB} {STORE}")
    web, store = (record["difference"] for record in outcome.records)
    assert (outcome.status, outcome.stderr, web["to"]) == (1, "", {"live": True})
    assert (web["definition"], web["changed"]) == ("different", 0)
    assert (store["added"], store["removed"], store["changed"]) == (1, 0, 2)
    rows = looks.host.sh(f"tb-diff --rows {STORE}").stdout.splitlines()
    shown = [(row[0], row[1:].split(",")[0], row.rpartition(",")[2]) for row in rows[3:]]
    assert shown == [
        *(("-", "data", "attributes"), ("+", "data", "attributes")),
        ("+", "data/new", ""),
        *(("-", "data/word", "size mtime"), ("+", "data/word", "size mtime")),
    ]
    assert "+limits.memory: 100MB" in looks.host.sh(f"tb-diff --definition {WEB}").stdout
    assert left(lab) == ""
    assert LOOKING not in lab.sh(f"zfs list -Ho name -t snapshot {DATASET}")
    base, _, newest = looks.snapshots
    looks.seen["diff"] = looks.host.sh(f"tb-diff --rows --from {base} --to {newest} {WEB}")
    removed = [row for row in looks.seen["diff"].stdout.splitlines() if row.startswith("-noise,")]
    assert len(removed) == 1
    refused = looks.host.sh(f"tb-diff --sql {WEB}")
    assert (refused.status, refused.stdout) == (1, "")
    assert "no SQL brings its files back" in refused.stderr


@contextmanager
def opened(
    looks: Looks, *ids: str
) -> Iterator[tuple["subprocess.Popen[str]", list[dict[str, Any]]]]:
    """Run tb-open during the block; give its records."""
    argv = ("tb-open", *map(looks.host.words.own, ids))
    environ = looks.host.environ
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, [json.loads(process.stdout.readline()) for _ in ids]
        process.kill()


def test_who_may_not_mount_reads_what_to_do(looks: Looks) -> None:
    refused = looks.host.sh(f"tb-cat --list {STORE}", environ={"LAB_USER": "member"})
    assert (refused.status, refused.stdout) == (1, "")
    assert "run it as root" in refused.stderr


@pytest.fixture(scope="module")
def lost(looks: Looks, lab: Lab) -> Looks:
    """The same once the objects and what lies on the host are lost."""
    lab.sh("lxc delete web; lxc storage volume delete default store")
    looks.host.wipe()
    return looks


def test_what_s3_alone_has_is_the_same_to_the_byte(lost: Looks, lab: Lab) -> None:
    base, _, newest = lost.snapshots
    compared = lost.seen.pop("diff")
    both = f"--from {base} --to {newest} {WEB}"
    with lab.calls() as calls:
        assert lost.host.sh(f"tb-diff --rows {both}") == compared
    assert sum("receive" in call for call in calls) == len(lost.snapshots)
    gone = lost.host.sh(f"tb-diff {WEB}")
    assert "it is not there any more; tb-restore brings it back" in gone.stderr
    for options, seen in lost.seen.items():
        assert lost.host.sh(f"tb-cat {options} {WEB} | base64 -w0") == seen
    assert left(lab) == ""


def test_the_definition_is_the_configuration_and_reads_no_data(lost: Looks, lab: Lab) -> None:
    with lab.calls() as calls:
        documents = list(yaml.safe_load_all(lost.good("--definition")))
        disk = yaml.safe_load(lost.good("--definition", DISK))
    assert calls == []
    assert documents[0]["profiles"] == ["default"]
    assert json.loads(documents[0]["config"]["volatile.last_state.idmap"]) == _IDMAP
    assert documents[1]["devices"]["root"]["pool"] == "default"
    assert (disk["content_type"], disk["config"]["size"]) == ("block", "8MB")


def _of_a_killed_one() -> str:
    return f"{LOOKING}{hashlib.sha256(host_id().encode()).hexdigest()[:12]}-1-1"


def test_a_killed_look_leaves_nothing_to_the_next(lost: Looks, lab: Lab) -> None:
    lab.sh(f"zfs create -o mountpoint=none tank/lxd/{_of_a_killed_one()}-x.stream")
    argv = ("tb-cat", "--list", lost.host.words.own(WEB))
    with subprocess.Popen(argv, env=lost.host.environ, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while f"-{process.pid}-" not in left(lab):
            assert time.monotonic() < deadline
        process.kill()
    assert lost.good("--path version") == "3\n"
    assert left(lab) == ""


def test_what_a_killed_tool_had_open_is_gone(lost: Looks, lab: Lab) -> None:
    with opened(lost, WEB, STORE) as (process, records):
        by_kind = {record["subtype"]: record["opened"]["folder"] for record in records}
        folders = by_kind["container"], by_kind["volume"]
        words = lab.sh(
            f"cat {folders[0]}/version {folders[1]}/data/word {folders[1]}/version || true"
        )
        assert sorted(words.split()) == ["3", "kept"]
        process.kill()
    deadline = time.monotonic() + 60
    while left(lab) and time.monotonic() < deadline:
        pass
    assert left(lab) == ""
