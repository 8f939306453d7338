# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is broken on a host is put back, by a notification alone and by the periodic pass alone.

That each of the two really is alone is shown in test_repair_control.py.
"""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.damage import IN_THE_FIREWALL, ON_THE_DEVICE, ON_THE_HOST, Damage
from tests.support.faults import deafen
from tests.support.traffic import assert_ping
from tests.support.waiting import wait_until

MODES = {
    "by notification": ("--kernel-resync=3600", "--iptables-resync=3600"),
    "by periodic pass": ("--kernel-resync=1", "--iptables-resync=1"),
}


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, bundle: None) -> Iterator[Cluster]:
    """Two nodes; the parameter is (backend, mode). A test breaks the first node and waits until it is whole."""
    backend, mode = request.param
    with Cluster() as cluster:
        cluster.configure(backend)
        one, two = cluster.join(1, 2, flags=("--ip-masq", *MODES[mode]))
        assert_ping(one.container, two.container)
        if mode == "by periodic pass":
            assert deafen(one.agent.pid) > 0
        yield cluster


def name_of(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else getattr(value, "__name__", str(value))


@pytest.mark.parametrize("pair", [("vxlan", mode) for mode in MODES], indirect=True, ids=name_of)
@pytest.mark.parametrize("damage", ON_THE_DEVICE + ON_THE_HOST + IN_THE_FIREWALL, ids=name_of)
def test_vxlan_is_repaired(pair: Cluster, damage: Damage) -> None:
    assert_repaired(pair, damage)


@pytest.mark.parametrize("pair", [("host-gw", mode) for mode in MODES], indirect=True, ids=name_of)
@pytest.mark.parametrize("damage", ON_THE_HOST, ids=name_of)
def test_host_gw_is_repaired(pair: Cluster, damage: Damage) -> None:
    assert_repaired(pair, damage)


def assert_repaired(pair: Cluster, damage: Damage) -> None:
    one, two = pair.nodes
    before = one.state()
    damage(one, two)
    wait_until(lambda: one.state() == before, f"the state before {damage.__name__} is back")
    assert_ping(one.container, two.container)
    assert_ping(two.container, one.container)
