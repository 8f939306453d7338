# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A start during which the store goes away between its answers."""

from __future__ import annotations

import threading
import time
from ipaddress import ip_address

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreUnavailable
from ansible_collections.weft.flannel.plugins.module_utils._interface import Interface, InterfaceChoice
from flanneld import startup
from flanneld.instance import Instance
from flanneld.leasing import Identity
from flanneld.options import parse_options
from flanneld.outputs.remembered import RememberedLease
from flanneld.outputs.state_dir import StateDir

from tests.support.leases import lease

OLD = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
NEW = '{"Network":"10.7.0.0/16","Backend":{"Type":"vxlan"}}'
ADDRESS = ip_address("192.0.2.1")


class StoreThatGoes:
    """Has a network config to tell, and is away when a lease is wanted; that is when the agent is told to end."""

    def __init__(self, config: str, stop: threading.Event) -> None:
        self._config = config
        self._stop = stop

    def read_config(self) -> str:
        return self._config

    def acquire(self, claim: object, config: object) -> None:
        self._stop.set()
        raise StoreUnavailable("etcd", "it is away", "bring it back")


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Makes a start of a host that last had a lease under OLD; argument: the config that the store has now."""
    interface = Interface(2, "eth0", 1500)
    choice = InterfaceChoice(interface, ADDRESS, None, ADDRESS, None, "it is the only one")
    monkeypatch.setattr(startup, "choose", lambda *arguments, **keywords: choice)
    state = StateDir(tmp_path)
    remembered = lease("10.5.3.0-24", str(ADDRESS))
    state.remember_lease(RememberedLease(OLD, remembered, 1, time.time() + 1000))
    options = parse_options([f"--state-dir={tmp_path}", f"--subnet-file={tmp_path}/subnet.env"], {})

    def make(config):
        stop = threading.Event()
        manager = StoreThatGoes(config, stop)
        identity = Identity("a" * 32, "b", "h1")
        return startup.Start(options, Instance("default"), manager, state, identity, lambda what: None, stop)

    return make


def test_the_last_lease_stands_in_under_its_own_config(start):
    joined = startup.join_network(start(OLD))
    assert joined.node.lease.key == "10.5.3.0-24"
    assert not joined.confirmed


def test_under_another_config_the_last_lease_is_none(start):
    with pytest.raises(startup.Stopped):
        startup.join_network(start(NEW))


@pytest.mark.parametrize(("clock", "left"), [(-900 * 86400, 86400), (0, 1000), (1200, -200)])
def test_a_wrong_clock_does_not_make_a_lease_last_for_years(start, monkeypatch, clock, left):
    """clock: seconds by which it is ahead of the one that the lease was written by."""
    now = time.time() + clock
    monkeypatch.setattr("flanneld.last_life.time.time", lambda: now)
    assert startup.join_network(start(OLD)).expires_in == pytest.approx(left, abs=5)
