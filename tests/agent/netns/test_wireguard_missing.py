# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wireguard on a kernel that has none: refused by name, before anything is touched."""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster
from tests.support.netns import Namespace


@pytest.fixture(autouse=True)
def kernel_without_wireguard(private_namespaces: None) -> None:
    """What is tested with it is in tests/agent/vm."""
    probe = Namespace("probe")
    try:
        if "wireguard" in probe.execute(
            "sh", "-c", "ip link add wg0 type wireguard && ip -d link", check=False
        ):
            pytest.skip("this kernel has wireguard")
    finally:
        probe.delete()


def test_the_agent_ends_with_the_reason_and_changes_nothing(cluster: Cluster) -> None:
    cluster.configure("wireguard")
    one = cluster.add_node(1)
    before = (one.host.ip("-d -o link"), one.host.ip("addr"), one.host.ip("route"), one.firewall())
    one.agent.start()
    assert one.agent.wait() == 7
    assert (
        "wireguard on this host: kernel has no wireguard; load the kernel module"
        in one.agent.complaints()[-1]
    )
    assert (one.host.ip("-d -o link"), one.host.ip("addr"), one.host.ip("route"), one.firewall()) == before
    assert cluster.leases() == {}
    state = sorted(path.name for path in (one.host.lib_dir / "flanneld").iterdir())
    assert state == ["identity.json"]


def test_a_host_that_runs_another_backend_keeps_its_data_path(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, _two = cluster.join(1, 2)
    assert one.agent.stop() == 0
    before, leases = one.state(), cluster.leases()
    cluster.configure("wireguard")
    one.agent.start()
    assert one.agent.wait() == 7
    assert (one.state(), cluster.leases()) == (before, leases)
