# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What survives a reboot, and what damage to it does."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import uuid
from pathlib import Path

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._mac import parse_mac
from flanneld.last_life import LastLife
from flanneld.leasing import KnownPeers
from flanneld.leasing.peers import Peers
from flanneld.outputs.remembered import RememberedLease, format_peers, format_remembered_lease
from flanneld.outputs.state_dir import StateDir
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.leases import lease, vxlan_rules

MAC = "02:00:00:00:00:01"
CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
LEASE = RememberedLease(CONFIG, lease("10.5.1.0-24", "192.0.2.1", born=7), 1 << 63, 1800000000.5)
PEERS = KnownPeers((lease("10.5.2.0-24", "192.0.2.2"), lease("10.5.3.0-24", "192.0.2.3")), 41, (1 << 64) - 1)


class Machine:
    """The two files by which a machine and its boot are known."""

    def __init__(self, directory: Path) -> None:
        self.machine_id_path, self.boot_id_path = directory / "machine-id", directory / "boot_id"
        self.machine_id_path.write_text(f"{uuid.uuid4().hex}\n")
        self.boot()

    def boot(self) -> None:
        self.boot_id_path.write_text(f"{uuid.uuid4()}\n")

    def identify(self, state: StateDir):
        return state.read_identity(self.machine_id_path, self.boot_id_path)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def other_machine(tmp_path):
    (tmp_path / "other").mkdir()
    return Machine(tmp_path / "other")


def fill(directory: Path, machine: Machine) -> StateDir:
    """A state directory with everything in it."""
    state = StateDir(directory)
    machine.identify(state)
    state.remember_mac("flannel.1", MAC)
    state.remember_lease(LEASE)
    state.remember_peers(PEERS)
    return state


# --- MAC addresses


def test_a_mac_is_remembered_by_device(tmp_path):
    state = StateDir(tmp_path / "new")
    assert state.recall_mac("flannel.1") is None
    assert state.list_devices() == frozenset()
    state.remember_mac("flannel.1", MAC)
    state.remember_mac("flannel.7", MAC)
    assert StateDir(tmp_path / "new").recall_mac("flannel.1") == MAC
    assert (tmp_path / "new/flannel.1.mac").read_text() == f"{MAC}\n"
    assert state.list_devices() == {"flannel.1", "flannel.7"}


def test_a_device_without_a_mac_is_remembered_by_its_name(tmp_path):
    state = StateDir(tmp_path / "new")
    state.remember_device("flannel.ipip")
    state.remember_device("flannel.ipip")
    state.remember_mac("flannel.1", MAC)
    state.remember_device("eth0")
    assert StateDir(tmp_path / "new").list_devices() == {"flannel.1", "flannel.ipip"}
    assert f"{tmp_path}/new/flannel.ipip.device" in state.forget_all()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "damage", [b"", b"\xff\xfe\x00", b"c6:d2", b"ff:ff:ff:ff:ff:ff\n", b"02:00:00:00:00:01 x"]
)
def test_a_damaged_mac_counts_as_not_there(tmp_path, damage, caplog):
    (tmp_path / "flannel.1.mac").write_bytes(damage)
    assert StateDir(tmp_path).recall_mac("flannel.1") is None
    assert f"{tmp_path}/flannel.1.mac: it is damaged" in caplog.text


@pytest.mark.parametrize(
    "name",
    ["eth0", "flannel.1/../x", "../flannel.1", "flannel.16777215", "flannel_1", "flannel.1\n", "", "."],
)
def test_only_names_of_our_devices_are_files(tmp_path, name):
    state = StateDir(tmp_path / "state")
    state.remember_mac(name, MAC)
    assert state.recall_mac(name) is None
    assert [entry.name for entry in tmp_path.rglob("*")] == []


def test_files_that_are_not_ours_are_neither_devices_nor_removed(tmp_path, machine):
    state = fill(tmp_path / "state", machine)
    for name in ("eth0.mac", "flannel_x.mac", "notes", "identity.json.bak"):
        (state.path / name).write_text(MAC)
    assert state.list_devices() == {"flannel.1"}
    state.forget_all()
    assert sorted(path.name for path in state.path.iterdir()) == [
        "eth0.mac",
        "flannel_x.mac",
        "identity.json.bak",
        "notes",
    ]


# --- identity


def test_the_id_is_made_once_and_every_boot_is_another(tmp_path, machine, caplog):
    first = machine.identify(StateDir(tmp_path / "state"))
    machine.boot()
    second = machine.identify(StateDir(tmp_path / "state"))
    assert re.fullmatch("[0-9a-f]{32}", first.id)
    assert (second.id, second.host) == (first.id, os.uname().nodename)
    assert second.boot_id == machine.boot_id_path.read_text().strip() != first.boot_id
    assert caplog.text == ""


def test_the_machine_id_itself_is_written_nowhere(tmp_path, machine, other_machine, caplog):
    state = fill(tmp_path / "state", machine)
    other_machine.identify(StateDir(state.path))
    told = caplog.text + "".join(path.read_text() for path in state.path.iterdir())
    for one in (machine, other_machine):
        secret = one.machine_id_path.read_text().strip()
        assert secret not in told
        assert str(uuid.UUID(secret)) not in told


def test_a_copied_state_directory_is_told_and_emptied(tmp_path, machine, other_machine, caplog):
    state = fill(tmp_path / "state", machine)
    before = machine.identify(state)
    copy = StateDir(state.path)
    with caplog.at_level(logging.WARNING):
        after = other_machine.identify(copy)
    assert after.id != before.id
    assert (copy.recall_mac("flannel.1"), copy.recall_lease(), copy.recall_peers()) == (None, None, None)
    assert copy.list_devices() == frozenset()
    [record] = caplog.records
    bound = [json.loads(path.read_text())["machine"] for path in [state.path / "identity.json"]]
    text = record.getMessage()
    assert f"this is machine {bound[0]}" in text
    assert "Forgetting what is the other host's (flannel.1.mac, lease.json, peers.json)" in text
    # once only: from now on the directory is this machine's
    assert other_machine.identify(StateDir(state.path)) == after
    assert len(caplog.records) == 1


def test_a_copied_state_directory_that_cannot_be_emptied_is_told_at_every_start(
    tmp_path, machine, other_machine, caplog
):
    state = fill(tmp_path / "state", machine)
    (state.path / "flannel.7.mac").mkdir()  # what cannot be unlinked, as on a file system with errors
    for _start in range(2):
        caplog.clear()
        copy = StateDir(state.path)
        other_machine.identify(copy)
        assert "ignoring what cannot be removed (flannel.7.mac)" in caplog.text
        assert copy.list_devices() == frozenset()
    (state.path / "flannel.7.mac").rmdir()
    settled = other_machine.identify(StateDir(state.path))
    caplog.clear()
    assert other_machine.identify(StateDir(state.path)) == settled
    assert caplog.text == ""


def test_a_machine_without_a_machine_id_keeps_what_it_has(tmp_path, machine, caplog):
    state = fill(tmp_path / "state", machine)
    before = machine.identify(state)
    for text in ("", "uninitialized\n", "\xff" * 32):
        machine.machine_id_path.write_text(text)
        assert machine.identify(StateDir(state.path)).id == before.id
    machine.machine_id_path.unlink()
    assert machine.identify(StateDir(state.path)).id == before.id
    assert StateDir(state.path).recall_lease() == LEASE
    assert caplog.text == ""


def test_an_id_made_without_a_machine_id_is_not_that_of_a_machine_with_one(tmp_path, machine, caplog):
    secret = machine.machine_id_path.read_text()
    machine.machine_id_path.unlink()
    before = machine.identify(StateDir(tmp_path / "state"))
    assert json.loads((tmp_path / "state/identity.json").read_text())["machine"] == ""
    machine.machine_id_path.write_text(secret)
    assert machine.identify(StateDir(tmp_path / "state")).id != before.id
    assert "was made for machine without a machine-id" in caplog.text


def test_a_lost_identity_leaves_the_rest(tmp_path, machine, caplog):
    """A host that is upgraded has MAC addresses, and no identity yet."""
    state = fill(tmp_path / "state", machine)
    before = machine.identify(state)
    (state.path / "identity.json").unlink()
    after = machine.identify(StateDir(state.path))
    assert after.id != before.id
    assert state.recall_mac("flannel.1") == MAC
    assert caplog.text == ""


def test_without_a_boot_id_no_two_hosts_have_the_same(tmp_path, machine):
    machine.boot_id_path.unlink()
    one, other = (machine.identify(StateDir(tmp_path / "state")) for _time in range(2))
    assert uuid.UUID(one.boot_id) != uuid.UUID(other.boot_id)


# --- lease and peers


def test_lease_and_peers_come_back_as_they_were(tmp_path):
    state = StateDir(tmp_path / "state")
    assert (state.recall_lease(), state.recall_peers()) == (None, None)
    state.remember_lease(LEASE)
    state.remember_peers(PEERS)
    again = StateDir(tmp_path / "state")
    assert again.recall_lease() == LEASE
    assert again.recall_peers() == PEERS


def test_files_are_for_root_only_and_a_directory_that_stands_keeps_its_mode(tmp_path, machine):
    before = os.umask(0)
    try:
        state = fill(tmp_path / "state", machine)
        (tmp_path / "given").mkdir(mode=0o755)
        StateDir(tmp_path / "given").remember_lease(LEASE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in state.path.iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "given").stat().st_mode) == 0o755


FILES = {
    "identity.json": lambda state, machine: machine.identify(state),
    "lease.json": lambda state, machine: state.recall_lease(),
    "peers.json": lambda state, machine: state.recall_peers(),
    "flannel.1.mac": lambda state, machine: state.recall_mac("flannel.1"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage",
    [
        "empty",
        "truncated",
        "wrong version",
        "no object",
        "binary",
        "a directory",
        "a pipe",
        "unreadable link",
    ],
)
def test_a_file_that_is_not_what_we_wrote_counts_as_not_there_and_is_told_once(
    tmp_path, machine, name, damage, caplog
):
    state = fill(tmp_path / "state", machine)
    path = state.path / name
    before = machine.identify(state) if name == "identity.json" else None
    good = path.read_bytes()
    path.unlink()
    if damage == "a directory":
        path.mkdir()
    elif damage == "a pipe":
        os.mkfifo(path)
    elif damage == "unreadable link":
        path.symlink_to(path)
    else:
        path.write_bytes(
            {
                "empty": b"",
                "truncated": good[: len(good) // 2],
                "wrong version": good.replace(b'"version":1', b'"version":2').replace(b"02:", b"v2:"),
                "no object": b"[1]\n",
                "binary": b"\x80\x00\xff" * 50,
            }[damage]
        )
    again = StateDir(state.path)
    for _time in range(3):
        recalled = FILES[name](again, machine)
    assert recalled is None or (recalled.id != before.id)
    told = [record.getMessage() for record in caplog.records if str(path) in record.getMessage()]
    reads = [text for text in told if "counts as not there" in text]
    assert len(reads) == 1
    # what can be replaced is, and is then good
    if damage != "a directory":
        if name == "identity.json":
            assert FILES[name](StateDir(state.path), machine) == recalled
        else:
            fill(state.path, machine)
            assert path.read_bytes() == good
    else:
        assert len(told) <= 2  # one more, because it cannot be written either


def test_a_directory_that_cannot_be_made_is_told_once_per_file(tmp_path, machine, caplog):
    (tmp_path / "file").write_text("")
    state = StateDir(tmp_path / "file" / "state")
    with caplog.at_level(logging.WARNING):
        for _time in range(3):
            state.remember_mac("flannel.1", MAC)
            state.remember_lease(LEASE)
            state.remember_peers(PEERS)
    written = [record.getMessage() for record in caplog.records]
    assert len(written) == 3
    for name, text in zip(("flannel.1.mac", "lease.json", "peers.json"), written):
        assert (
            f"{name}: it cannot be written: Not a directory; check the directory, its space and its mode"
            in text
        )
    assert state.list_files() == state.forget_all() == ()
    # an identity for this run
    ids = {machine.identify(state).id for _time in range(2)}
    assert len(ids) == 2
    assert "this host gets another id at its next start" in caplog.text


# --- all of it


def test_forget_all_leaves_nothing_not_even_what_a_power_cut_left(tmp_path, machine):
    state = fill(tmp_path / "state", machine)
    (state.path / ".peers.json.a1b2c3d_").write_text("half")
    (state.path / ".flannel.1.mac.a1b2c3d_").write_text("")
    listed = state.list_files()
    assert [Path(path).name for path in listed] == [
        ".flannel.1.mac.a1b2c3d_",
        ".peers.json.a1b2c3d_",
        "flannel.1.mac",
        "identity.json",
        "lease.json",
        "peers.json",
    ]
    assert state.list_devices() == {"flannel.1"}
    assert state.forget_all() == (*listed, str(state.path))
    assert not state.path.exists()
    assert state.forget_all() == ()


# --- fuzz

GOOD = {
    "identity.json": f'{{"version":1,"id":"{"0f" * 16}","machine":""}}\n'.encode(),
    "lease.json": format_remembered_lease(LEASE).encode(),
    "peers.json": format_peers(PEERS).encode(),
    "flannel.1.mac": f"{MAC}\n".encode(),
    "machine-id": b"0123456789abcdef0123456789abcdef\n",
    "boot_id": b"01234567-89ab-cdef-0123-456789abcdef\n",
}


UNDAMAGED = {name: content for name, content in GOOD.items() if name != "machine-id"}
"""With its machine-id, the directory would be that of another machine, and be emptied."""


@st.composite
def damaged(draw, content):
    """Some bytes of it are others, are missing, or are there twice."""
    first, last = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
    middle = draw(st.sampled_from([b"", content[first:last] * 2]) | st.binary(max_size=8))
    return content[:first] + middle + content[last:]


CONTENTS = st.fixed_dictionaries(
    {}, optional={name: st.just(good) | damaged(good) | st.binary(max_size=60) for name, good in GOOD.items()}
)


@settings(deadline=None)  # it writes to a disk
@given(files=CONTENTS)
@example(files=UNDAMAGED)
def test_whatever_the_files_hold_a_start_has_an_identity_and_goes_on(tmp_path_factory, files):
    directory = tmp_path_factory.mktemp("any")
    for name, content in files.items():
        (directory / name).write_bytes(content)
    state = StateDir(directory)
    identity = state.read_identity(directory / "machine-id", directory / "boot_id")
    assert re.fullmatch("[0-9a-f]{32}", identity.id)
    assert identity.boot_id
    assert state.recall_mac("flannel.1") is None or parse_mac(state.recall_mac("flannel.1"))
    assert state.list_devices() <= {"flannel.1"}
    known, last = state.recall_peers(), LastLife(state.recall_lease())
    for text in (CONFIG, CONFIG.replace("10.5", "10.6")):
        config = parse_config(text)
        last.find_former_networks(config)
        assert last.fits(config) <= (last.lease is not None)
        last.was_robbed(LEASE.lease, text)
        last.is_followed_by(LEASE.lease)
    last.find_time_left()
    rules = vxlan_rules(last.lease or LEASE.lease)
    assert known is None or Peers(rules, 600).recall(known) is not None
    if files == UNDAMAGED:
        assert (known, last.remembered) == (PEERS, LEASE)
