# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of what forwards for udp: written with every change, and believed only whole."""

from __future__ import annotations

import json
import socket
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from flanneld.instance import Instance
from flanneld.resuming import (
    EarlyFile,
    Forwarded,
    Record,
    format_record,
    parse_record,
    resume_forwarding,
)
from flanneld.tables import KernelError
from flanneld.tables import udp as tables_udp
from flanneld.tables.udp import Change, UdpPath, UdpPeer, UserSpace, make_user_space
from flanneld.udp.early import EarlyProgram
from flanneld.udp.peer_map import PeerMap

PATH = UdpPath("flannel0", ip_address("192.0.2.1"), 8285, ip_address("10.5.34.0"))
PEERS = {
    ip_network("10.5.72.0/24"): ip_address("192.0.2.2"),
    ip_network("10.5.80.0/20"): ip_address("192.0.2.3"),
}


CAPABLE = frozenset({ip_network("10.5.80.0/20")})
KEPT = Forwarded(PATH, PEERS, CAPABLE)


class Here(Instance):
    """Its run directory is that of a test."""

    where = ""

    @property
    def udp_record(self) -> str:
        return self.where

    @property
    def udp_early_record(self) -> str:
        return f"{self.where}-xdp"


@pytest.fixture
def instance(tmp_path, monkeypatch):
    monkeypatch.setattr(Here, "where", str(tmp_path / "udp.json"))
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 7)
    return Here()


@pytest.fixture
def started(monkeypatch):
    """What was asked to forward; append an error to have it refused."""
    calls, errors = [], []

    def start(space, path, peers):
        calls.append((path, dict(peers)))
        return errors[0] if errors else None

    monkeypatch.setattr(tables_udp, "start_forwarding", start)
    return calls, errors


def test_it_is_read_as_it_was_written():
    for kept in (KEPT, Forwarded(PATH, {}), Forwarded(PATH, PEERS)):
        assert parse_record(format_record(kept)) == kept


WHOLE = json.loads(format_record(KEPT))


def test_one_of_a_version_without_programs_says_that_none_is_capable():
    older = {key: value for key, value in WHOLE.items() if key != "capable"}
    assert parse_record(f"{json.dumps(older)}\n") == Forwarded(PATH, PEERS)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]\n", "null\n", "{}\n", "\0\n", '{"version":1}\n', format_record(KEPT)[:-9],
        format_record(KEPT)[:-1],
        *(
            format_record(KEPT) + line
            for line in (
                "\n", "x\n", "{}\n", "[]\n", '["10.5.72.0/24"]\n', '["10.5.72.0/24", 7, true]\n',
                '["10.5.72.0/24", null]\n', '["10.5.72.1/24", null, false]\n',
                '["10.5.72.0/24", "192.0.2", true]\n', '["10.5.72.0/24", null, fal',
            )
        ),
        *(
            json.dumps({**WHOLE, **change}) + "\n"
            for change in (
                {"version": 2}, {"device": None}, {"local": "fd00::1"}, {"local": 7}, {"port": "0"}, {"port": "x"},
                {"port": 8285}, {"own": "10.5"}, {"peers": []}, {"peers": {"10.5.72.1/24": "192.0.2.2"}},
                {"peers": {"10.5.72.0/24": None}}, {"peers": {"10.5.72.0/24": "192.0.2"}},
                {"capable": {}}, {"capable": [7]}, {"capable": ["10.5.72.1/24"]},
            )
        ),
    ],
)  # fmt: skip
def test_a_damaged_one_counts_as_none(instance, started, text, caplog):
    Path(instance.udp_record).write_text(text)
    space = resume_forwarding(instance)
    assert (space.path, started[0]) == (None, [])
    assert "it cannot be used, and counts as not there" in caplog.text


def test_every_change_is_kept_and_a_path_that_ends_leaves_none(instance):
    space = UserSpace(keep=Record(Path(instance.udp_record)).keep)
    table, peers = make_user_space("flannel0", space)
    space.path = PATH
    for subnet, public in PEERS.items():
        peers.apply([Change(subnet, None, UdpPeer("flannel0", subnet, public))])
    assert Record(Path(instance.udp_record)).recall() == Forwarded(PATH, PEERS)
    table.apply([Change("flannel0", PATH, None)])
    assert Record(Path(instance.udp_record)).recall() is None
    table.apply([Change("flannel0", PATH, None)])  # nothing to remove


def test_what_changes_is_added_until_it_is_more_than_all_there_is(instance):
    file = Path(instance.udp_record)
    record = Record(file)
    space = UserSpace(path=PATH, peers=PeerMap(PEERS), capable=set(CAPABLE))
    record.keep(space, ())
    one, other = PEERS
    sizes = []
    for number in range(2000):
        space.peers.remove(one) if number % 2 else space.peers.put(one, ip_address("192.0.2.9"))
        (space.capable.discard if number % 3 else space.capable.add)(other)
        record.keep(space, [one, other])
        sizes.append(file.stat().st_size)
    assert record.recall() == Forwarded(PATH, space.peers.peers, frozenset(space.capable))
    assert max(sizes) < 100_000
    # somebody has taken it away
    file.unlink()
    record.keep(space, [one])
    assert record.recall() == Forwarded(PATH, space.peers.peers, frozenset(space.capable))


def keep(instance, path=PATH):
    space = UserSpace(path=path, peers=PeerMap(PEERS), capable=set(CAPABLE))
    Record(Path(instance.udp_record)).keep(space, ())


def test_it_begins_with_what_was(instance, started):
    keep(instance)
    space = resume_forwarding(instance)
    assert started[0] == [(PATH, PEERS)]
    assert space.capable == CAPABLE


def test_where_none_ran_nothing_begins_and_nothing_is_loaded(instance, started):
    assert resume_forwarding(instance) is None
    assert started[0] == []


def test_without_a_device_or_with_another_instance_s_nothing_begins(instance, started, monkeypatch):
    keep(instance, UdpPath("flannel0-blue", PATH.local, PATH.port, PATH.own))
    resume_forwarding(instance)
    keep(instance)

    def none(name):
        raise OSError(6, "No such device or address")

    monkeypatch.setattr(socket, "if_nametoindex", none)
    resume_forwarding(instance)
    assert started[0] == []


def test_what_the_kernel_refuses_is_told_and_left_to_the_data_path(instance, started, caplog):
    keep(instance)
    started[1].append(KernelError("udp path", "another process has flannel0 open", "end it"))
    resume_forwarding(instance)
    assert "another process has flannel0 open; end it" in caplog.text


def test_a_place_that_cannot_be_written_is_told_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    record = Record(tmp_path / "file" / "udp.json")
    for _time in range(2):
        record.keep(UserSpace(path=PATH), ())
    assert caplog.text.count("the next restart forwards later than it could") == 1


# --- programs of drivers

EARLY = (EarlyProgram("eth0", 4711), EarlyProgram("eth1", 12))


def test_programs_of_drivers_are_recalled_by_the_next_life(tmp_path):
    path = tmp_path / "run" / "udp-xdp.json"
    EarlyFile(path).keep(EARLY)
    assert EarlyFile(path).recall() == EARLY
    EarlyFile(path).keep(())
    EarlyFile(path).keep(())
    assert not path.exists()
    assert EarlyFile(path).recall() == ()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "\0", "\xff", "{}", '{"version":2,"programs":[["eth0",1]]}', '{"version":1,"programs":[["eth0"]]}',
     '{"version":1,"programs":[["eth0","x"]]}', '{"version":1,"programs":7}'],
)  # fmt: skip
def test_by_a_damaged_file_nothing_is_ours(tmp_path, text):
    path = tmp_path / "udp-xdp.json"
    path.write_text(text, encoding="latin-1")
    assert EarlyFile(path).recall() == ()


def test_a_program_that_cannot_be_written_down_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(OSError, match="it cannot be written"):
        EarlyFile(tmp_path / "run" / "udp-xdp.json").keep(EARLY)


def test_they_are_known_also_where_nothing_else_is_resumed(instance, started):
    assert resume_forwarding(instance) is None
    EarlyFile(Path(instance.udp_early_record)).keep(EARLY)
    space = resume_forwarding(instance)
    assert (space.path, space.early.recall(), started[0]) == (None, EARLY, [])
