# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Agents with the backend udp end, come back and change; what is broken is repaired, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from typing import Dict, List

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.cluster import Cluster
from tests.support.damage import bounce_eth0
from tests.support.faults import deafen
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_no_ping, assert_ping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")

LONGEST_GAP = 30.0
"""Seconds; docs/backends/udp.md says how long it is in fact. This is for a machine that has much else to do."""


def test_peers_come_and_go_under_traffic(cluster: Cluster) -> None:
    cluster.configure("udp")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    with Pinger(one.container, two.container) as pinger:
        (three,) = cluster.join(3)
        assert_ping(three.container, one.container)
        assert_ping(two.container, three.container)
        three.agent.stop()
        cluster.etcd.delete(three.lease_key)
        for node in (one, two):
            node.agent.wait_log(f"Subnet removed: {three.lease_key.rpartition('/')[2]}")
    pinger.assert_nothing_lost()
    assert_no_ping(one.container, three.container)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=str)
def test_after_a_restart_traffic_resumes(cluster: Cluster, how: signal.Signals) -> None:
    """Forwarding is in the process, so there is a gap, but device, routes and subnet stay."""
    cluster.configure("udp")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    before, leases = one.state(), cluster.leases()
    with Pinger(one.container, two.container) as pinger:
        pinger.wait_sent(200)
        if how == signal.SIGHUP:
            one.agent.forget()
            os.kill(one.agent.pid, how)
        else:
            one.agent.stop(how)
            wait_until(lambda: one.state() == without_carrier(before), "the device has lost its carrier")
            one.agent.start()
        one.agent.wait_ready()
        pinger.wait_sent(400)
    gap = pinger.longest_gap
    print(f"\n{how.name}: no answer for {gap:.2f} s")
    assert gap < LONGEST_GAP
    assert one.state() == before
    assert cluster.leases() == leases
    assert_ping(two.container, one.container)


def without_carrier(state: Dict[str, List[str]]) -> Dict[str, List[str]]:
    """The same while nobody is behind the device."""

    def change(line: str) -> str:
        line = line.replace(
            "<POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP>", "<NO-CARRIER,POINTOPOINT,MULTICAST,NOARP,UP>"
        )
        line = line.replace(" state UP ", " state DOWN ").replace("flannel0 UP", "flannel0 DOWN")
        return f"{line} linkdown" if line.startswith("10.5.0.0/16 dev flannel0") else line

    return {what: [change(line) for line in lines] for what, lines in state.items()}


# --- drift


def delete_device(node: Node) -> None:
    node.host.ip("link del flannel0")


def set_device_down(node: Node) -> None:
    node.host.ip("link set flannel0 down")


def bounce_device(node: Node) -> None:
    node.host.ip("link set flannel0 down")
    node.host.ip("link set flannel0 up")


def change_mtu(node: Node) -> None:
    node.host.ip("link set flannel0 mtu 1400")


def delete_address(node: Node) -> None:
    node.host.ip(f"addr del {node.host.subnet.network_address}/32 dev flannel0")


def delete_route(node: Node) -> None:
    node.host.ip("route del 10.5.0.0/16")


def change_route(node: Node) -> None:
    node.host.ip("route replace 10.5.0.0/16 via 192.0.2.99 dev eth0 proto 102")


def replace_device(node: Node) -> None:
    """One of another kind has taken the name."""
    node.host.ip("link del flannel0")
    node.host.execute(
        "ip", "link", "add", "flannel0", "type", "bridge", check=False
    )  # where the agent is slower


def bounce_underlay(node: Node) -> None:
    bounce_eth0(node, node)


DAMAGES = (
    delete_device, set_device_down, bounce_device, change_mtu, delete_address, delete_route, change_route,
    replace_device, bounce_underlay,
)  # fmt: skip


@pytest.mark.parametrize("resync", ["3600", "1"], ids=["by notification alone", "by periodic pass alone"])
def test_drift_is_repaired(cluster: Cluster, resync: str) -> None:
    cluster.configure("udp")
    one, two = cluster.join(1, 2, flags=(f"--kernel-resync={resync}", "--iptables-resync=3600"))
    assert_ping(one.container, two.container)
    if resync == "1":
        assert deafen(one.agent.pid) > 0
    before = one.state()
    for damage in DAMAGES:
        damage(one)
        wait_until(lambda: one.state() == before, f"the state before {damage.__name__} is back")
        assert_ping(one.container, two.container)
        assert_ping(two.container, one.container)


def test_a_new_address_of_the_interface_is_bound_and_published(cluster: Cluster) -> None:
    cluster.configure("udp")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    one.host.ip("addr del 192.0.2.1/24 dev eth0")
    one.host.ip("addr add 192.0.2.77/24 dev eth0")
    one.host.add_default_route()
    wait_until(lambda: '"192.0.2.77"' in str(cluster.leases()), "the new address is published")
    assert_ping(one.container, two.container)
    assert "192.0.2.77:8285" in one.host.execute("ss", "-lun")


# --- others


def test_a29_a_config_without_backend_means_udp_and_is_warned_about(cluster: Cluster) -> None:
    cluster.put("config", '{"Network":"10.5.0.0/16"}')
    one, two = cluster.join(1, 2)
    assert "has no Backend, which means udp to every flannel" in one.agent.complaints()[0]
    assert_ping(one.container, two.container)


def test_upstream_is_waited_for_and_taken_over_from(cluster: Cluster) -> None:
    """A flannel0 that a process has open is that of a running flanneld of upstream, and goes with it."""
    cluster.configure("udp")
    one, two = cluster.add_node(1), *cluster.join(2)
    hold = (
        "import fcntl, os, struct, sys; t = os.open('/dev/net/tun', os.O_RDWR);"
        "fcntl.ioctl(t, 0x400454ca, struct.pack('16sH22x', b'flannel0', 0x1001));"
        "print(1, flush=True); sys.stdin.read()"
    )
    command = [*one.host.prefix, PYTHON, "-c", hold]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as upstream:
        assert upstream.stdin is not None
        assert upstream.stdout is not None
        upstream.stdout.readline()
        one.agent.start()
        complaint = one.agent.wait_log("link flannel0: another process has flannel0 open")
        assert "such as upstream's flanneld" in complaint
        assert not one.agent.ready
        upstream.stdin.close()
    one.agent.wait_ready()
    assert_ping(one.container, two.container)


def test_a_port_that_is_taken_is_named(cluster: Cluster) -> None:
    cluster.configure("udp")
    one = cluster.add_node(1)
    with one.host.open_socket(socket.SOCK_DGRAM) as other:
        other.bind((str(one.host.address), 8285))
        one.agent.start()
        assert "ss -lunp sport = :8285" in one.agent.wait_log("UDP port 8285 of 192.0.2.1 is in use")
    one.agent.wait_ready()


@pytest.mark.parametrize(("before", "after"), [("udp", "vxlan"), ("vxlan", "udp")])
def test_another_backend_leaves_nothing_of_the_one_before(cluster: Cluster, before: str, after: str) -> None:
    cluster.configure(before)
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    cluster.configure(after)
    for node in (one, two):
        node.agent.stop()
        node.agent.start()
        node.agent.wait_ready()
    gone = {"udp": "flannel0", "vxlan": "flannel.1"}[before]
    for node in (one, two):
        wait_until(lambda: f" {gone}:" not in node.host.ip("-o link"), f"{gone} is gone")  # noqa: B023 - used at once
        assert not any(gone in route for route in node.routes())
    one.host.ip("link set docker0 mtu 1400")
    assert_ping(one.container, two.container)
    assert ("8285" in one.host.execute("ss", "-lun")) == (after == "udp")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_cleanup_leaves_nothing(cluster: Cluster, end: str) -> None:
    cluster.configure("udp")
    one = cluster.add_node(1)
    foreign = one.foreign_state()
    one.agent.start()
    one.agent.wait_ready()
    getattr(one.agent, end)()
    said = one.host.execute(PYTHON, str(BUNDLE), "cleanup", *one.agent.arguments)
    assert "link flannel0" in said
    assert "route 10.5.0.0/16 dev flannel0" in said
    assert one.state() == {"routes": [], "firewall": []}
    assert one.foreign_state() == foreign
    assert not (one.host.run_dir / "flannel" / "udp.json").exists()
    assert "nothing of ours" in one.host.execute(PYTHON, str(BUNDLE), "cleanup", *one.agent.arguments)


def test_a_host_without_tun_says_so_and_touches_nothing(cluster: Cluster) -> None:
    cluster.configure("udp")
    one = cluster.add_node(1)
    done = subprocess.run(
        [*one.host.prefix, "sh", "-c", 'mount -t tmpfs tmpfs /dev/net && exec "$@"', "sh",
         PYTHON, str(BUNDLE), *one.agent.arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 7
    assert "kernel has no tun" in done.stderr
    assert cluster.leases() == {}
    assert "flannel" not in one.host.ip("-o link")


def test_leases_of_any_type_are_peers_and_bad_ones_are_refused_by_name(cluster: Cluster) -> None:
    cluster.configure("udp")
    (one,) = cluster.join(1)
    for key, value in {
        "10.5.210.0-24": '{"PublicIP":"192.0.2.110","PublicIPv6":null}',
        "10.5.211.0-24": '{"PublicIP":"192.0.2.111","PublicIPv6":null,"BackendType":"vxlan"}',
    }.items():
        cluster.put(f"subnets/{key}", value)
        one.agent.wait_log(f"Subnet added: {key}")
    for key, public, reason in (
        ("10.5.212.0-24", "0.0.0.0", "no public IP"),
        ("10.5.213.0-24", str(one.host.address), "our own address"),
        ("10.6.1.0-24", "192.0.2.112", "outside the network"),
        ("192.0.2.0-24", "192.0.2.113", "outside the network"),
    ):
        cluster.put(f"subnets/{key}", f'{{"PublicIP":"{public}","PublicIPv6":null}}')
        assert reason in one.agent.wait_log(key)
