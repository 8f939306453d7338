# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the state directory is written."""

from __future__ import annotations

from dataclasses import replace

from flanneld.leasing import LeaseListing
from flanneld.leasing.peers import Peers
from flanneld.memory import PAUSE, Memory
from flanneld.outputs.state_dir import StateDir

from tests.support.leases import lease, vxlan_rules

OWN = lease("10.5.1.0-24", "192.0.2.1")
TWO = lease("10.5.2.0-24", "192.0.2.2", born=11)
THREE = lease("10.5.3.0-24", "192.0.2.3", born=12)
CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def listed(*leases):
    peers = Peers(vxlan_rules(OWN), 600.0)
    peers.see_listing(LeaseListing((OWN, *leases), (), 20, 1), 0.0)
    return peers


def test_the_lease_is_written_at_once(tmp_path):
    state = StateDir(tmp_path / "state")
    Memory(state, CONFIG).note_lease(OWN, 60, 7)
    found = StateDir(tmp_path / "state").recall_lease()
    assert (found.lease.key, found.config, found.cluster_id) == (OWN.key, CONFIG, 7)
    assert found.until is not None


def test_a_reservation_has_no_end(tmp_path):
    state = StateDir(tmp_path / "state")
    Memory(state, CONFIG).note_lease(replace(OWN, lease_id=0), 0, 7)
    assert StateDir(tmp_path / "state").recall_lease().until is None


def test_peers_are_written_at_the_first_change_and_then_not_for_every_one(tmp_path):
    clock, state = Clock(), StateDir(tmp_path / "state")
    memory = Memory(state, CONFIG, clock)
    assert memory.wait is None
    memory.note_peers()
    memory.write_due(listed(TWO))
    assert [one.key for one in state.recall_peers().leases] == [TWO.key]

    clock.now += 1
    memory.note_peers()
    assert memory.wait == PAUSE - 1
    memory.write_due(listed(TWO, THREE))
    assert len(state.recall_peers().leases) == 1
    clock.now += PAUSE
    memory.write_due(listed(TWO, THREE))
    assert len(state.recall_peers().leases) == 2
    assert memory.wait is None


def test_the_end_writes_what_is_not_written_yet(tmp_path):
    clock, state = Clock(), StateDir(tmp_path / "state")
    memory = Memory(state, CONFIG, clock)
    memory.write(listed(TWO))
    assert state.recall_peers() is None, "nothing has changed"
    memory.note_peers()
    memory.write_due(listed(TWO))
    memory.note_peers()
    memory.write(listed(TWO, THREE))
    assert len(state.recall_peers().leases) == 2
