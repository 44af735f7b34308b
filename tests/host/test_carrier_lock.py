"""One tool at a time changes the snapshots of a carrier; several may read them."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from three_backup.errors import BusyError
from three_backup.host.locks import carrier_lock
from three_backup.model.objects import Carrier

CARRIER = Carrier("lxd/container/default/default/веб сервер")

Owner = subprocess.Popen[str]
Start = Callable[..., Owner]


def wait_until_held(owner: Owner) -> None:
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"


def test_a_busy_carrier_names_who_works_on_it(carrier_owner: Start, tmp_path: Path) -> None:
    owner = carrier_owner(CARRIER)
    wait_until_held(owner)
    with pytest.raises(BusyError) as raised, carrier_lock(tmp_path, CARRIER):
        pass
    assert raised.value.message.startswith(f"{CARRIER}: ")
    assert f"(process {owner.pid}) since 20" in raised.value.message


def test_carriers_do_not_stand_in_each_others_way(carrier_owner: Start, tmp_path: Path) -> None:
    wait_until_held(carrier_owner(CARRIER))
    with (
        carrier_lock(tmp_path, Carrier("postgres/cluster/7")),
        carrier_lock(tmp_path, Carrier(f"{CARRIER}2")),
    ):
        pass


def test_readers_share_a_carrier_and_keep_writers_out(
    carrier_owner: Start, tmp_path: Path
) -> None:
    wait_until_held(carrier_owner(CARRIER, "shared"))
    with carrier_lock(tmp_path, CARRIER, shared=True):
        pass
    with pytest.raises(BusyError), carrier_lock(tmp_path, CARRIER):
        pass


def test_a_reader_that_is_left_is_named_when_the_last_one_to_come_is_gone(
    carrier_owner: Start, tmp_path: Path
) -> None:
    staying = carrier_owner(CARRIER, "shared")
    wait_until_held(staying)
    with carrier_lock(tmp_path, CARRIER, shared=True):
        pass
    with pytest.raises(BusyError) as raised, carrier_lock(tmp_path, CARRIER):
        pass
    assert f"(process {staying.pid})" in raised.value.message


def test_a_writer_keeps_readers_out(carrier_owner: Start, tmp_path: Path) -> None:
    wait_until_held(carrier_owner(CARRIER))
    with pytest.raises(BusyError), carrier_lock(tmp_path, CARRIER, shared=True):
        pass


def test_a_killed_tool_leaves_its_carrier_free(carrier_owner: Start, tmp_path: Path) -> None:
    owner = carrier_owner(CARRIER)
    wait_until_held(owner)
    owner.kill()
    owner.wait()
    with carrier_lock(tmp_path, CARRIER):
        pass


def test_a_tool_that_is_about_to_end_is_waited_for(ending_owner: Start, tmp_path: Path) -> None:
    owner = ending_owner(CARRIER)
    wait_until_held(owner)
    with carrier_lock(tmp_path, CARRIER):
        assert owner.wait() == 0
