# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases that cannot be right program nothing, are named and counted, and harm no good peer."""

from __future__ import annotations

import json
import re
from typing import Callable, Iterator, Tuple

import pytest

from tests.support.cluster import Cluster
from tests.support.node import PREFIX
from tests.support.traffic import Pinger, assert_ping
from tests.support.waiting import wait_until

MAC = "02:00:00:00:77:01"
Lease = Tuple[str, str]
"""Key below subnets/, and value."""


def vxlan_lease(key: str, public_ip: str, mac: str = MAC) -> Lease:
    data = {
        "PublicIP": public_ip,
        "PublicIPv6": None,
        "BackendType": "vxlan",
        "BackendData": {"VNI": 1, "VtepMAC": mac},
    }
    return key, json.dumps(data, separators=(",", ":"))


def inside_our_own_subnet(cluster: Cluster) -> Lease:
    return vxlan_lease(f"{cluster.nodes[0].host.subnet.network_address + 128}-25", "192.0.2.77")


def around_our_own_subnet(cluster: Cluster) -> Lease:
    around = cluster.nodes[0].host.subnet.supernet()
    return vxlan_lease(f"{around.network_address}-{around.prefixlen}", "192.0.2.77")


def inside_an_older_peers_subnet(cluster: Cluster) -> Lease:
    return vxlan_lease(f"{cluster.nodes[1].host.subnet.network_address + 128}-25", "192.0.2.77")


def with_our_own_address(cluster: Cluster) -> Lease:
    return vxlan_lease("10.5.210.0-24", str(cluster.nodes[0].host.address))


def with_our_own_mac(cluster: Cluster) -> Lease:
    return vxlan_lease("10.5.210.0-24", "192.0.2.77", cluster.nodes[0].vtep_mac)


def with_the_mac_of_an_older_peer(cluster: Cluster) -> Lease:
    return vxlan_lease("10.5.210.0-24", "192.0.2.77", cluster.nodes[1].vtep_mac)


def with_a_key_that_ends_like_an_older_peers(cluster: Cluster) -> Lease:
    """Upstream's grammar has no anchor at the left, so that it takes this key for the peer's."""
    return vxlan_lease(f"x{cluster.nodes[1].host.subnet.network_address}-24", "192.0.2.77")


def as_written(key: str, public_ip: str, mac: str = MAC) -> Callable[[Cluster], Lease]:
    return lambda cluster: vxlan_lease(key, public_ip, mac)


def junk(key: str, value: str) -> Callable[[Cluster], Lease]:
    return lambda cluster: (key, value)


BAD = {
    "outside the network": as_written("10.9.1.0-24", "192.0.2.77"),
    "the whole network": as_written("10.5.0.0-16", "192.0.2.77"),
    "wider than the network": as_written("10.0.0.0-8", "192.0.2.77"),
    "everything": as_written("0.0.0.0-0", "192.0.2.77"),
    "inside our own subnet": inside_our_own_subnet,
    "around our own subnet": around_our_own_subnet,
    "inside an older peer's subnet": inside_an_older_peers_subnet,
    "the hosts' own network": as_written("192.0.2.0-24", "192.0.2.77"),
    "public IP multicast": as_written("10.5.210.0-24", "224.0.0.1"),
    "public IP loopback": as_written("10.5.210.0-24", "127.0.0.1"),
    "public IP unspecified": as_written("10.5.210.0-24", "0.0.0.0"),
    "public IP broadcast": as_written("10.5.210.0-24", "255.255.255.255"),
    "public IP inside its own subnet": as_written("10.5.210.0-24", "10.5.210.1"),
    "public IP ours": with_our_own_address,
    "MAC ours": with_our_own_mac,
    "MAC of an older peer": with_the_mac_of_an_older_peer,
    "MAC multicast": as_written("10.5.210.0-24", "192.0.2.77", "01:00:5e:00:00:01"),
    "MAC broadcast": as_written("10.5.210.0-24", "192.0.2.77", "ff:ff:ff:ff:ff:ff"),
    "MAC zero": as_written("10.5.210.0-24", "192.0.2.77", "00:00:00:00:00:00"),
    "MAC not a MAC": as_written("10.5.210.0-24", "192.0.2.77", "flannel"),
    "key not a subnet": junk("lost+found", "{}"),
    "key with a bad octet": junk("10.5.300.0-24", "{}"),
    "key that ends like an older peer's": with_a_key_that_ends_like_an_older_peers,
    "key with host bits": as_written("10.5.210.7-24", "192.0.2.77"),
    "value empty": junk("10.5.210.0-24", ""),
    "value not JSON": junk("10.5.210.0-24", "PublicIP=192.0.2.77"),
    "value a list": junk("10.5.210.0-24", "[1]"),
    "value without BackendData": junk("10.5.210.0-24", '{"PublicIP":"192.0.2.77","BackendType":"vxlan"}'),
    "value with a bad address": as_written("10.5.210.0-24", "192.0.2.777"),
    "value deeply nested": junk("10.5.210.0-24", "[" * 100_000),
}


@pytest.fixture(scope="module")
def pair(bundle: None) -> Iterator[Cluster]:
    """Two nodes; every test takes away what it wrote."""
    with Cluster() as cluster:
        cluster.configure("vxlan")
        one, two = cluster.join(1, 2)
        assert_ping(one.container, two.container)
        yield cluster


@pytest.mark.parametrize("what", BAD)
def test_it_programs_nothing_and_is_named_and_counted(pair: Cluster, what: str) -> None:
    one, two = pair.nodes
    key, value = BAD[what](pair)
    before, logged = one.state(), len(one.agent.log)
    pair.put(f"subnets/{key}", value)
    let_events_pass(pair)
    assert one.state() == before
    assert re.search(rf"{re.escape(key)}.*\(\d+ (refused|ignored)\)", one.agent.log[logged:])
    pair.etcd.delete(f"{PREFIX}/subnets/{key}")
    let_events_pass(pair)
    assert one.state() == before
    assert_ping(one.container, two.container)


def test_bytes_that_are_no_text_do_no_harm(pair: Cluster) -> None:
    one, two = pair.nodes
    before = one.state()
    pair.etcd.ctl("put", f"{PREFIX}/subnets/10.5.210.0-24", b"\xff\xfe{")
    pair.etcd.ctl("put", f"{PREFIX}/subnets/".encode() + b"\xff-24", "{}")
    let_events_pass(pair)
    assert one.state() == before
    assert_ping(one.container, two.container)


def test_backend_data_of_any_depth_is_no_end_of_the_agent(pair: Cluster) -> None:
    """Near Python's own limit it could be read where leases arrive, but not where they are judged."""
    one, two = pair.nodes
    before, pids = one.state(), [node.agent.pid for node in pair.nodes]
    for depth in (90, *range(940, 995)):
        data = "[" * depth + "]" * depth
        value = f'{{"PublicIP":"192.0.2.77","BackendType":"vxlan","BackendData":{data}}}'
        pair.put("subnets/10.5.210.0-24", value)
    let_events_pass(pair)
    assert [node.agent.pid for node in pair.nodes if node.agent.running] == pids
    assert one.state() == before
    pair.etcd.delete(f"{PREFIX}/subnets/10.5.210.0-24")
    assert_ping(one.container, two.container)


def test_an_agent_that_starts_among_bad_leases_sees_only_the_good_ones(pair: Cluster) -> None:
    one, two = pair.nodes
    before, logged = one.state(), len(one.agent.log)
    leases = dict(write(pair) for write in BAD.values())
    for key, value in leases.items():
        pair.put(f"subnets/{key}", value)
    let_events_pass(pair)
    with Pinger(one.container, two.container) as traffic:
        one.agent.kill()
        one.agent.start()
        one.agent.wait_ready()
        let_events_pass(pair)
        assert one.state() == before
    traffic.assert_nothing_lost()
    for key in leases:
        assert re.search(rf"{re.escape(key)}.*\(\d+ (refused|ignored)\)", one.agent.log[logged:]), key
        pair.etcd.delete(f"{PREFIX}/subnets/{key}")


def let_events_pass(pair: Cluster) -> None:
    """Wait until everything written so far has arrived: leases come in order, so a good one at the end tells."""
    one = pair.nodes[0]
    key, value = vxlan_lease("10.5.250.0-24", "192.0.2.78", "02:00:00:00:78:01")
    pair.put(f"subnets/{key}", value)
    wait_until(lambda: "10.5.250.0/24" in one.host.ip("route"), "the good lease that came last has its route")
    pair.etcd.delete(f"{PREFIX}/subnets/{key}")
    wait_until(lambda: "10.5.250.0" not in str(one.state()), "and loses everything with its lease")
