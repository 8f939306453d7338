# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backend that cannot run here says why, and what to do, before anything is touched."""

from __future__ import annotations

import json

import pytest
from flanneld.tables.link import has_kind

from tests.support.cluster import Cluster
from tests.support.node import PREFIX
from tests.support.traffic import assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")
KERNEL_OR_BACKEND = 7  # exit code


def require_kernel_without(kind: str) -> None:
    if has_kind(kind):
        pytest.skip(f"this kernel has {kind}")


@pytest.mark.parametrize("backend", ["ipip"])
def test_a_kernel_without_it(cluster: Cluster, backend: str) -> None:
    require_kernel_without(backend)
    cluster.configure(backend)
    one = cluster.add_node(1, "--ip-masq")
    before = one.foreign_state()
    one.agent.start()
    assert one.agent.wait() == KERNEL_OR_BACKEND
    (complaint,) = one.agent.complaints()
    assert f"{backend} on this host: the kernel has no {backend}; load the kernel module" in complaint
    assert (one.foreign_state(), one.state()) == (before, {"routes": [], "firewall": []})
    assert cluster.leases() == {}
    assert not list((one.host.lib_dir / "flanneld").glob("*.device"))


def test_a_host_with_another_data_path_keeps_it(cluster: Cluster) -> None:
    """The network config has changed to a backend that this kernel lacks: containers keep what they had."""
    require_kernel_without("ipip")
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    before = one.state()
    cluster.configure("ipip")
    one.agent.wait_log("has changed; this agent keeps the old one")
    assert one.agent.stop() == 0
    one.agent.start()
    assert one.agent.wait() == KERNEL_OR_BACKEND
    assert one.state() == before
    assert_ping(one.container, two.container)


@pytest.mark.parametrize("ipv4", [True, False], ids=["dual stack", "IPv6 alone"])
def test_ipip_cannot_carry_ipv6(cluster: Cluster, ipv4: bool) -> None:
    """Upstream panics, or leaves IPv6 out. Ours waits for a config that can be, and says which."""
    cluster.configure("ipip", ipv4=ipv4, ipv6=True)
    one = cluster.add_node(1)
    one.agent.start()
    line = one.agent.wait_log("the backend type ipip carries IPv4 only, and EnableIPv6 is true")
    assert "host-gw" in line
    assert cluster.leases() == {}
    config = json.loads(cluster.etcd.ctl("get", "--print-value-only", f"{PREFIX}/config"))
    config["Backend"]["Type"] = "vxlan"
    cluster.put("config", json.dumps(config))
    wait_until(lambda: one.agent.ready, "it goes on by itself")
