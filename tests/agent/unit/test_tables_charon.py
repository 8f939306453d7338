# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A charon that comes, goes, is silent or says no, played by the test (VICI's framing and messages)."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading

import pytest
from flanneld.tables import Change, KernelError, charon
from flanneld.tables.charon import Charon
from flanneld.tables.connection import ConnectionTable, FormerConnectionTable
from flanneld.tables.shared_key import FormerSharedKeyTable, SharedKey, SharedKeyTable
from flanneld.vendored.vici.protocol import Message, Packet

SECONDS = 10.0
SECRET = "s" * 96


@pytest.fixture
def daemon(tmp_path):
    return Charon(str(tmp_path / "vici"), "flannel-charon.service")


@contextlib.contextmanager
def listening(where):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(where.socket)
        listener.listen()
        listener.settimeout(SECONDS)
        yield listener


@contextlib.contextmanager
def answering(where, *answers):
    """A charon that answers each request in turn. Yields what it was asked."""
    asked = []

    def serve():
        with listener.accept()[0] as line:
            for answer in answers:
                (length,) = struct.unpack("!I", line.recv(4))
                asked.append(line.recv(length))
                packet = struct.pack("!B", Packet.CMD_RESPONSE) + Message.serialize(answer)
                line.sendall(struct.pack("!I", len(packet)) + packet)
            line.recv(1)

    with listening(where) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        thread.join(SECONDS)


def test_its_comings_and_goings_are_noticed(daemon, tmp_path):
    wakes, stop = queue.SimpleQueue(), threading.Event()
    watcher = threading.Thread(target=daemon.watch, args=(lambda: wakes.put(True), stop), daemon=True)
    watcher.start()
    for _life in range(2):
        with listening(daemon) as listener:
            line = listener.accept()[0]
            wakes.get(timeout=SECONDS)
            assert wakes.empty()
        (tmp_path / "vici").unlink()
        line.close()
        wakes.get(timeout=SECONDS)
    stop.set()
    watcher.join(SECONDS)
    assert not watcher.is_alive()


@pytest.mark.parametrize("kind", [SharedKeyTable, ConnectionTable])
def test_one_that_is_away_is_named_with_what_to_do(daemon, kind):
    with pytest.raises(KernelError, match=r"charon is not running.*systemctl start flannel-charon\.service"):
        kind(daemon).dump()


@pytest.mark.parametrize("kind", [FormerSharedKeyTable, FormerConnectionTable])
def test_one_that_is_away_has_nothing_left(daemon, kind):
    assert kind(daemon).dump() == {}


def test_one_that_is_silent_is_given_up(daemon, monkeypatch):
    monkeypatch.setattr(charon, "_ANSWER_SECONDS", 0.1)
    with listening(daemon), pytest.raises(KernelError, match="does not answer"):
        SharedKeyTable(daemon).dump()


def test_a_key_is_loaded_once_in_a_life(daemon):
    table = SharedKeyTable(daemon)
    wanted = SharedKey("192.0.2.1", SECRET)
    with answering(daemon, {"success": "yes"}) as asked:
        assert table.apply([Change(wanted.key, None, wanted)]) == {}
    assert SECRET.encode() in asked[0]
    assert b"192.0.2.1" in asked[0]


def test_what_it_says_against_one_change_does_not_stop_the_others(daemon):
    table = SharedKeyTable(daemon)
    bad, good = SharedKey("192.0.2.1", SECRET), SharedKey("192.0.2.2", SECRET)
    answers = ({"success": "no", "errmsg": "it does not like it"}, {"success": "yes"})
    with answering(daemon, *answers):
        errors = table.apply([Change(thing.key, None, thing) for thing in (bad, good)])
    assert list(errors) == [bad.key]
    assert "charon refuses it: it does not like it" in str(errors[bad.key])
    assert SECRET not in str(errors)


def test_what_is_not_there_counts_as_removed(daemon):
    gone = SharedKey("192.0.2.1", SECRET)
    with answering(daemon, {"success": "no", "errmsg": "unload: connection 'x' not found"}):
        assert SharedKeyTable(daemon).apply([Change(gone.key, gone, None)]) == {}
