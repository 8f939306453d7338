# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Masquerade and forward rules, and others who write to the same tables."""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster
from tests.support.netns import OUTSIDE_ADDRESS
from tests.support.traffic import assert_no_ping, assert_ping, source_seen
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")


def test_the_rules_word_for_word(cluster: Cluster) -> None:
    """As iptables prints the rules of spec 6.1."""
    cluster.configure("vxlan")
    (one,) = cluster.join(1, flags=("--ip-masq",))
    masq, forward, subnet = (
        '-m comment --comment "flanneld masq"',
        '-m comment --comment "flanneld forward"',
        one.host.subnet,
    )
    assert one.firewall() == [
        f"-A POSTROUTING {masq} -j FLANNEL-POSTRTG",
        f"-A FORWARD {forward} -j FLANNEL-FWD",
        f"-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG -s {subnet} -d 10.5.0.0/16 {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG -s 10.5.0.0/16 -d {subnet} {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d {subnet} {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG -s 10.5.0.0/16 ! -d 224.0.0.0/4 {masq} -j MASQUERADE --random-fully",
        f"-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.0.0/16 {masq} -j MASQUERADE --random-fully",
        f"-A FLANNEL-FWD -s 10.5.0.0/16 {forward} -j ACCEPT",
        f"-A FLANNEL-FWD -d 10.5.0.0/16 {forward} -j ACCEPT",
    ]


def test_without_ip_masq_there_is_no_nat_rule(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    (one,) = cluster.join(1)
    assert not any("POSTR" in rule for rule in one.firewall())
    assert one.host.subnet_env["FLANNEL_IPMASQ"] == "false"


def test_a_forward_policy_of_drop(cluster: Cluster, backend: str) -> None:
    cluster.configure(backend)
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    for node in (one, two):
        node.host.execute("iptables", "-P", "FORWARD", "DROP")
    assert_ping(one.container, two.container)


def test_forward_rules_can_be_declined(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2, flags=("--iptables-forward-rules=false",))
    assert_ping(one.container, two.container)
    assert one.firewall() == []
    one.host.execute("iptables", "-P", "FORWARD", "DROP")
    assert_no_ping(one.container, two.container)


def test_docker_puts_its_jumps_first_and_we_come_back_before_them(cluster: Cluster) -> None:
    """A Docker that starts: ip-masq=true in its own chain order, DROP as policy, its jumps at the top."""
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2, flags=("--ip-masq",))
    assert_ping(one.container, two.container)
    rules = one.firewall()
    bridge = one.host.subnet
    one.host.execute("iptables", "-P", "FORWARD", "DROP")
    one.host.execute("iptables", "-N", "DOCKER-ISOLATION-STAGE-1")
    one.host.execute("iptables", "-I", "FORWARD", "-o", "docker0", "-j", "DROP")
    one.host.execute("iptables", "-I", "FORWARD", "-j", "DOCKER-ISOLATION-STAGE-1")
    one.host.execute(
        "iptables",
        "-t",
        "nat",
        "-I",
        "POSTROUTING",
        "-s",
        str(bridge),
        "!",
        "-o",
        "docker0",
        "-j",
        "MASQUERADE",
    )
    wait_until(lambda: one.firewall() == rules, "our jumps are first again")
    assert_ping(two.container, one.container)
    assert source_seen(one.container, cluster.switch, OUTSIDE_ADDRESS) == str(one.host.address)


def test_a_restart_never_has_a_moment_without_rules(cluster: Cluster) -> None:
    """New connections all the time, with a policy of DROP: one moment without rules would refuse or rewrite one."""
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2, flags=("--ip-masq",))
    assert_ping(one.container, two.container)
    one.host.execute("iptables", "-P", "FORWARD", "DROP")
    own = str(one.container.address)
    one.agent.kill()
    one.agent.start()
    while not one.agent.ready:
        assert one.agent.running
        assert source_seen(one.container, two.container, two.container.address) == own
