# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Masquerade and forward rules, and others who write to the same tables."""

from __future__ import annotations

import os
from typing import Tuple

import pytest

from tests.support.cluster import Cluster
from tests.support.netns import OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6, Host, execute
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_no_ping, assert_ping, source_seen
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


def test_a22_docker_puts_its_jumps_first_and_we_come_back_before_them(cluster: Cluster) -> None:
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


# --- the other manager


def ruleset(node: Node) -> str:
    return node.host.execute("nft", "list", "ruleset")


def restart(node: Node, *flags: str) -> None:
    """With these flags in place of all but --etcd-endpoints and --iface."""
    node.agent.stop()
    node.agent.arguments = (*node.agent.arguments[:2], *flags)
    node.agent.start()
    node.agent.wait_ready()


def test_nftables_by_the_network_config(cluster: Cluster) -> None:
    """EnableNFTables, both families; no iptables rule anywhere."""
    cluster.configure("vxlan", ipv6=True)
    config = cluster.etcd.ctl("get", "--print-value-only", "/coreos.com/network/config")
    cluster.put("config", config.strip()[:-1] + ', "EnableNFTables": true}')
    one, two = cluster.join(1, 2, flags=("--ip-masq",))
    assert_ping(one.container, two.container)
    assert_ping(one.container.over_ipv6, two.container.over_ipv6)
    assert source_seen(one.container, cluster.switch, OUTSIDE_ADDRESS) == str(one.host.address)
    seen = source_seen(one.container.over_ipv6, cluster.switch, OUTSIDE_ADDRESS6)
    assert seen == str(one.host.address6)
    tables = one.host.execute("nft", "list", "tables").splitlines()
    assert tables == ["table ip flannel-ipv4", "table ip6 flannel-ipv6"]


@pytest.mark.parametrize("manager", ["iptables", "nftables"])
def test_a21_flush_ruleset_is_survived(cluster: Cluster, manager: str) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2, flags=("--ip-masq", f"--firewall={manager}", "--iptables-resync=3600"))
    assert_ping(one.container, two.container)
    before = one.host.execute("nft", "--stateless", "list", "ruleset")
    with Pinger(one.container, two.container) as pinger:
        pinger.wait_sent(100)
        for _time in range(3):
            one.host.execute("nft", "flush", "ruleset")
            wait_until(
                lambda: one.host.execute("nft", "--stateless", "list", "ruleset") == before,
                "our rules are back",
            )
        pinger.wait_sent(100)
    pinger.assert_nothing_lost()
    assert source_seen(one.container, cluster.switch, OUTSIDE_ADDRESS) == str(one.host.address)


def test_from_iptables_to_nftables_and_back_to_none_under_traffic(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2, flags=("--ip-masq", "--firewall=iptables"))
    assert_ping(one.container, two.container)
    own = str(one.host.address)
    with Pinger(one.container, two.container) as pinger:
        for flag, gone in (
            ("--firewall=nftables", "FLANNEL-"),
            ("--firewall=iptables", "table ip flannel"),
            ("--firewall=nftables", "FLANNEL-"),
        ):
            restart(one, "--ip-masq", flag)
            wait_until(lambda: gone not in ruleset(one), f"{flag}: {gone} is gone")  # noqa: B023 - is called here
            assert source_seen(one.container, cluster.switch, OUTSIDE_ADDRESS) == own
        restart(one, "--firewall=none", "--ip-masq")
        wait_until(lambda: "flannel" not in ruleset(one).lower(), "nothing is left")
        pinger.wait_sent(100)
    pinger.assert_nothing_lost()


@pytest.mark.parametrize("manager", ["iptables", "nftables"])
def test_without_ip_masq_and_forward_rules_nothing_is_left(cluster: Cluster, manager: str) -> None:
    cluster.configure("vxlan")
    (one,) = cluster.join(1, flags=("--ip-masq", f"--firewall={manager}"))
    restart(one, f"--firewall={manager}")
    wait_until(
        lambda: "masq" not in ruleset(one).lower().replace("flanneld masq", ""), "no masquerading is left"
    )
    restart(one, f"--firewall={manager}", "--iptables-forward-rules=false")
    wait_until(lambda: "flannel" not in ruleset(one).lower(), "nothing is left")


def test_a_spared_destination_sees_the_container(cluster: Cluster) -> None:
    cluster.configure("host-gw")
    flags = ("--ip-masq", f"--no-masquerade-cidr={OUTSIDE_ADDRESS}/32", "--no-masquerade-cidr=fd00::/8")
    (one,) = cluster.join(1, flags=flags)
    cluster.switch.ip(f"route add {one.host.subnet} via {one.host.address}")
    assert source_seen(one.container, cluster.switch, OUTSIDE_ADDRESS) == str(one.container.address)


def test_the_blackhole_route_comes_and_goes_with_its_flag(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one, two = cluster.join(1, 2, flags=("--ip-blackhole-route",))
    line = f"blackhole {one.host.subnet} proto 102 metric 4294967295"
    routes = [route.replace("proto flannel", "proto 102") for route in one.routes()]
    assert line in routes
    assert_ping(two.container, one.container)
    restart(one)
    wait_until(lambda: not any("blackhole" in route for route in one.routes()), "the route is gone")
    assert_ping(two.container, one.container)


def test_rules_of_v0_14_are_replaced_without_a_gap(cluster: Cluster) -> None:
    """Spec 6.6: without chains, at the end of POSTROUTING and FORWARD, for a subnet that this host had."""
    cluster.configure("host-gw")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    one.agent.stop()
    one.host.execute("nft", "flush", "ruleset")
    one.host.execute("iptables", "-P", "FORWARD", "DROP")
    for rule in (
        "-s 10.5.0.0/16 -d 10.5.0.0/16 -j RETURN",
        "-s 10.5.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
        f"! -s 10.5.0.0/16 -d {one.host.subnet} -j RETURN",
        "! -s 10.5.0.0/16 -d 10.5.0.0/16 -j MASQUERADE --random-fully",
    ):
        one.host.execute("iptables", "-t", "nat", "-A", "POSTROUTING", *rule.split())
    for rule in ("-s 10.5.0.0/16 -j ACCEPT", "-d 10.5.0.0/16 -j ACCEPT"):
        one.host.execute("iptables", "-A", "FORWARD", *rule.split())
    assert_ping(one.container, two.container)
    with Pinger(one.container, two.container) as pinger:
        one.agent.arguments = (*one.agent.arguments, "--ip-masq")
        one.agent.start()
        one.agent.wait_ready()
        wait_until(
            lambda: len(one.host.execute("iptables", "-t", "nat", "-S", "POSTROUTING").splitlines()) == 2,
            "only our jump is left",
        )
        pinger.wait_sent(100)
    pinger.assert_nothing_lost()
    forward = one.host.execute("iptables", "-S", "FORWARD").splitlines()
    assert forward == ["-P FORWARD DROP", '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD']


class WithoutIptables:
    """The host, for an agent that finds no iptables there."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.program = os.path.realpath("/usr/sbin/iptables-save")

    def __getattr__(self, name: str) -> object:
        return getattr(self._host, name)

    @property
    def prefix(self) -> Tuple[str, ...]:
        hide = f'mount --bind /dev/null {self.program} && exec "$@"'
        return (*self._host.prefix, "sh", "-c", hide, "sh")


def test_a23_without_iptables_the_agent_waits_for_it_at_every_start(cluster: Cluster) -> None:
    """Upstream ends when there is no subnet.env yet, and masquerades nothing, in silence, when there is."""
    cluster.configure("vxlan")
    one = cluster.add_node(1, "--ip-masq")
    host = WithoutIptables(one.host)
    one.agent.host = host  # type: ignore[assignment]
    for _life in range(2):
        one.agent.start()
        one.agent.wait_log("iptables-save: is not installed; install the package it comes with")
        wait_until(lambda: "is not installed" in one.agent.status, "the status line says so")
        assert one.agent.running
        assert not one.agent.ready
        execute("nsenter", f"--target={one.agent.pid}", "--mount", "umount", host.program)
        one.agent.wait_ready()
        assert source_seen(one.container, cluster.switch, OUTSIDE_ADDRESS) == str(one.host.address)
        one.agent.stop()
        one.host.execute("nft", "flush", "ruleset")


def test_a21_nftables_works_without_iptables(cluster: Cluster) -> None:
    cluster.configure("vxlan")
    one = cluster.add_node(1, "--ip-masq", "--firewall=nftables")
    one.agent.host = WithoutIptables(one.host)  # type: ignore[assignment]
    one.agent.start()
    one.agent.wait_ready()
    assert source_seen(one.container, cluster.switch, OUTSIDE_ADDRESS) == str(one.host.address)
    assert one.agent.complaints() == []
