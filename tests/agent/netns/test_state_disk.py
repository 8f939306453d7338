# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state directory on real file systems that are full or read-only."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Iterator

import pytest
from flanneld.leasing import KnownPeers
from flanneld.outputs.lock import hold_lock
from flanneld.outputs.remembered import RememberedLease
from flanneld.outputs.state_dir import StateDir

from tests.support.leases import lease
from tests.support.netns import execute

MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
FEW = KnownPeers((lease("10.5.2.0-24", "192.0.2.2"),), 41, 9)
MANY = KnownPeers(tuple(lease(f"10.5.{n}.0-24", f"192.0.2.{n}") for n in range(2, 250)), 42, 9)


def our_lease(born: int) -> RememberedLease:
    return RememberedLease(CONFIG, lease("10.5.1.0-24", "192.0.2.1", born=born), 9, 1800000000.0)


def write_all(state: StateDir, born: int, mac: str, peers: KnownPeers) -> None:
    state.remember_mac("flannel.1", mac)
    state.remember_lease(our_lease(born))
    state.remember_peers(peers)


def what_is_there(directory: Path) -> tuple:
    """What the next life would know."""
    state = StateDir(directory)
    return state.recall_mac("flannel.1"), state.recall_lease(), state.recall_peers()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    execute("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path))
    yield tmp_path
    execute("umount", "-l", str(tmp_path))


def fill_up(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            return ballast


def test_a_full_disk_keeps_the_old_files_and_is_told_once_per_file(disk, caplog):
    state = StateDir(disk / "state")
    identity = state.read_identity()
    write_all(state, 7, MAC, FEW)
    before = what_is_there(state.path)
    assert before == (MAC, our_lease(7), FEW)
    ballast = fill_up(disk)

    with caplog.at_level(logging.INFO):
        for attempt in range(3):
            write_all(state, 8 + attempt, OTHER_MAC, MANY)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    for name, text in zip(("flannel.1.mac", "lease.json", "peers.json"), told):
        assert f"{name}: it cannot be written: No space left on device" in text
    assert what_is_there(state.path) == before
    assert StateDir(state.path).read_identity().id == identity.id
    # and no half-written file is left to fill it further
    assert sorted(path.name for path in state.path.iterdir()) == [
        "flannel.1.mac",
        "identity.json",
        "lease.json",
        "peers.json",
    ]

    ballast.unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        write_all(state, 20, OTHER_MAC, FEW)
    assert caplog.text.count("it could be written again") == 3
    assert what_is_there(state.path) == (OTHER_MAC, our_lease(20), FEW)


def test_a_disk_that_is_full_at_the_first_start_gives_an_identity_for_this_run(disk, caplog):
    (disk / "state").mkdir()
    fill_up(disk)
    ids = {StateDir(disk / "state").read_identity().id for _start in range(2)}
    assert len(ids) == 2
    assert "identity.json: it cannot be written: No space left on device" in caplog.text
    assert "this host gets another id at its next start" in caplog.text


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A state directory with everything in it, on a file system that was remounted read-only."""
    state = StateDir(tmp_path / "state")
    state.read_identity()
    write_all(state, 7, MAC, FEW)
    execute("mount", "--bind", str(tmp_path), str(tmp_path))
    execute("mount", "-o", "remount,bind,ro", str(tmp_path))
    yield tmp_path
    execute("umount", "-l", str(tmp_path))


def test_a_read_only_disk_can_be_read_and_is_told_once_per_file(read_only, caplog):
    state = StateDir(read_only / "state")
    identity = state.read_identity()
    assert caplog.text == ""
    for attempt in range(3):
        write_all(state, 8 + attempt, OTHER_MAC, MANY)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    assert all("it cannot be written: Read-only file system" in text for text in told)
    assert what_is_there(state.path) == (MAC, our_lease(7), FEW)
    assert StateDir(state.path).read_identity().id == identity.id


def test_what_another_machine_left_is_not_believed_where_it_cannot_be_removed(
    read_only, tmp_path_factory, caplog
):
    machine_id = tmp_path_factory.mktemp("machine") / "machine-id"
    machine_id.write_text("0123456789abcdef" * 2)
    for _start in range(2):  # also the next time: the directory still says that it is another's
        caplog.clear()
        state = StateDir(read_only / "state")
        state.read_identity(machine_id)
        assert state.recall_mac("flannel.1") is None
        assert (state.recall_lease(), state.recall_peers(), state.list_devices()) == (None, None, frozenset())
        assert "but this is machine" in caplog.text
        assert "ignoring what cannot be removed (flannel.1.mac, lease.json, peers.json)" in caplog.text


def test_the_lock_of_a_running_agent_needs_no_space(disk):
    (disk / "lock").touch()
    fill_up(disk)
    with hold_lock(disk / "lock"):
        assert (disk / "lock").stat().st_size == 0
