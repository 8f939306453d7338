# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host moves from upstream's flanneld to ours in place, and back: no packet lost, and what is left over is tidied up.

Upstream has ended; its device, rules, subnet.env and lease are as its version leaves them (spec 8.3).
"""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import Dict, List, Tuple

import pytest

from tests.support.cluster import Cluster
from tests.support.node import PREFIX, Node
from tests.support.traffic import Pinger, assert_no_ping, assert_ping
from tests.support.upstream import MAC, Peer, Upstream
from tests.support.upstream_start import start_upstream
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("bundle")
DEAD = Peer(IPv4Network("10.5.99.0/24"), "192.0.2.99", "02:00:00:00:99:01")
FOREIGN = (
    "addr add 203.0.113.1/24 dev eth0",
    "addr add 10.5.255.1/32 dev lo",
    "route add 198.51.100.0/24 via 192.0.2.99",
    "route add 10.6.1.0/24 via 192.0.2.99",
    "route add 10.5.128.0/20 via 192.0.2.99 dev eth0",
    "route add 10.5.0.0/16 via 192.0.2.99 metric 500",
    "route add unreachable 10.5.251.0/24",
    "neigh add 192.0.2.98 lladdr 02:00:00:00:98:01 dev eth0 nud permanent",
    "link add vxlan7 type vxlan id 7 dev eth0 dstport 8473",
    "link set vxlan7 up",
    "route add 10.5.252.0/24 dev vxlan7",
)
FOREIGN_RULES = (
    "-N FOREIGN",
    "-A FORWARD -s 10.5.0.0/16 -j FOREIGN",
    "-t nat -A POSTROUTING -s 203.0.113.0/24 -j ACCEPT",
    "-t nat -A POSTROUTING -s 10.5.0.0/16 -d 203.0.113.0/24 -j MASQUERADE",
)


@pytest.fixture(
    params=[("v0.28", False), ("v0.28", True), ("v0.14", False), ("v0.9.1", False)],
    ids=["v0.28", "v0.28 with nftables", "v0.14", "v0.9.1"],
)
def version(request: pytest.FixtureRequest) -> Tuple[str, bool]:
    """And whether it uses nftables."""
    return request.param  # type: ignore[no-any-return]


def configure(cluster: Cluster, backend: str, nftables: bool) -> None:
    cluster.configure(backend)
    config = json.loads(cluster.etcd.ctl("get", "--print-value-only", f"{PREFIX}/config"))
    cluster.put("config", json.dumps({**config, "EnableNFTables": nftables}))


def join_peer(cluster: Cluster) -> Node:
    """The other host, whose subnet is none of those that these tests write."""
    node = cluster.add_node(2, "--ip-masq")
    Upstream(node.host, "v0.28", cluster.backend, subnet=IPv4Network("10.5.72.0/24")).leave_subnet_env()
    node.agent.start()
    node.agent.wait_ready()
    return node


def as_peer(node: Node) -> Peer:
    mac = node.vtep_mac if "flannel.1" in node.host.ip("-br link") else ""
    return Peer(node.host.subnet, str(node.host.address), mac)


def leave_everything(cluster: Cluster, upstream: Upstream, peers: List[Peer]) -> None:
    """All of one host but subnet.env."""
    upstream.leave_data_path(peers)
    upstream.leave_firewall()
    upstream.leave_lease(cluster)


def add_foreign(node: Node) -> None:
    for command in FOREIGN:
        node.host.ip(command)
    for rule in FOREIGN_RULES:
        node.host.execute("iptables", *rule.split())
    node.host.execute(
        "nft", "add table inet foreign; add chain inet foreign own; add rule inet foreign own drop"
    )


def others(node: Node) -> Dict[str, List[str]]:
    """All that is not flannel's."""
    state = node.foreign_state()
    nat = node.host.execute("iptables", "-t", "nat", "-S").splitlines()
    state["nat"] = [rule for rule in nat if "FLANNEL" not in rule]
    state["nftables"] = node.host.execute("nft", "list", "table", "inet", "foreign").splitlines()
    return state


def describe_device(node: Node) -> str:
    """Number and address, which another device of the same name would not have."""
    (device,) = json.loads(node.host.execute("ip", "-j", "link", "show", "flannel.1"))
    return f"{device['ifindex']} {device['address']}"


def create_revision(cluster: Cluster, key: str) -> int:
    (item,) = json.loads(cluster.etcd.ctl("get", key, "--write-out=json"))["kvs"]
    return int(item["create_revision"])


def firewall(node: Node) -> List[str]:
    """Of flannel, whatever it is made with; as on a host whose subnet is called SUBNET."""
    tables = node.host.execute("nft", "list", "table", "ip", "flannel-ipv4", check=False).splitlines()
    return [line.replace(str(node.host.subnet), "SUBNET") for line in (*node.firewall(), *tables)]


def test_there(cluster: Cluster, backend: str, version: Tuple[str, bool]) -> None:
    release, nftables = version
    configure(cluster, backend, nftables)
    two = join_peer(cluster)
    one = cluster.add_node(1, "--ip-masq")
    upstream = Upstream(one.host, release, backend, nftables)
    upstream.leave_subnet_env()
    add_foreign(one)
    if not nftables:  # an accept in nftables does not overrule a drop in iptables
        one.host.execute("iptables", "-P", "FORWARD", "DROP")
    assert one.container.address in upstream.subnet
    before = others(one)
    leave_everything(cluster, upstream, [as_peer(two), DEAD])
    if nftables:
        upstream.leave_remains_of_iptables()
    if backend == "vxlan":
        upstream.leave_fdb_entry(Peer(two.host.subnet, str(two.host.address), "02:00:00:00:72:99"))
    key = f"{PREFIX}/subnets/{upstream.lease_key}"
    born = create_revision(cluster, key)
    device = describe_device(one) if backend == "vxlan" else ""
    assert_ping(one.container, two.container)

    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        there.wait_sent(100)
        one.agent.start()
        one.agent.wait_ready()
        wait_until(lambda: others(one) == before, "what upstream left is gone, and nothing else")
        wait_until(lambda: not one.routes_to(DEAD.subnet), "the route to the dead peer is gone")
        there.wait_sent(200)
    there.assert_nothing_lost()
    back.assert_nothing_lost()

    assert one.host.subnet == upstream.subnet
    assert create_revision(cluster, key) == born, "the lease was made anew"
    assert set(cluster.leases()) == {key, two.lease_key}
    (route,) = one.routes_to(two.host.subnet)
    assert " proto " in route
    if backend == "vxlan":
        assert describe_device(one) == device, "the device is another one"
        assert json.loads(cluster.leases()[key])["BackendData"] == {"VNI": 1, "VtepMAC": one.vtep_mac}
        if release != "v0.9.1":
            assert one.vtep_mac == MAC
        wait_until(
            lambda: one.fdb() == [f"{two.vtep_mac} dst {two.host.address} self permanent"], "one entry"
        )
        assert one.neighbours() == [f"{two.host.subnet.network_address} lladdr {two.vtep_mac} PERMANENT"]
        assert [line for line in one.routes() if "flannel.1" in line] == [route]
    wait_until(lambda: firewall(one) == firewall(two), "the rules of a host that had no upstream")


@pytest.mark.parametrize("nftables", [False, True], ids=["iptables", "nftables"])
def test_back_and_there_again(cluster: Cluster, backend: str, nftables: bool) -> None:
    """What upstream checks at its start holds on what we leave, so that it goes on with it."""
    configure(cluster, backend, nftables)
    two = join_peer(cluster)
    one = cluster.add_node(1, "--ip-masq")
    upstream = Upstream(one.host, "v0.28", backend, nftables)
    upstream.leave_subnet_env()
    one.agent.start()
    one.agent.wait_ready()
    assert_ping(one.container, two.container)
    key, env = one.lease_key, one.host.subnet_file.read_text()
    device = describe_device(one) if backend == "vxlan" else ""
    rules, peer = sorted(firewall(one)), as_peer(two)

    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        assert one.agent.stop() == 0
        there.wait_sent(100)
        start_upstream(cluster, upstream, [peer])
        there.wait_sent(100)
        (route,) = one.routes_to(two.host.subnet)
        if not nftables:
            assert sorted(firewall(one)) == rules, "upstream knows our rules for its own, and has none twice"
        assert set(cluster.leases()) == {key, two.lease_key}
        assert as_peer(two) == peer

        one.agent.start()
        one.agent.wait_ready()
        wait_until(lambda: sorted(firewall(one)) == rules, "our rules")
        wait_until(lambda: one.routes_to(two.host.subnet) != [route] or "proto" in route, "our route")
        there.wait_sent(200)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert one.lease_key == key
    assert one.host.subnet_file.read_text() == env
    assert len(one.routes_to(two.host.subnet)) == 1
    if backend == "vxlan":
        assert describe_device(one) == device


def test_a24_a_blackhole_that_hides_the_containers(cluster: Cluster) -> None:
    """Upstream's --ip-blackhole-route came before the bridge: containers were cut off, with us they are not."""
    cluster.configure("vxlan")
    two = join_peer(cluster)
    one = cluster.add_node(1, "--ip-masq")
    upstream = Upstream(one.host, "v0.28", "vxlan")
    upstream.leave_subnet_env()
    upstream.leave_blackhole()
    leave_everything(cluster, upstream, [as_peer(two)])
    assert_no_ping(two.container, one.container)
    one.agent.start()
    one.agent.wait_ready()
    assert_ping(two.container, one.container)
    assert not [line for line in one.routes() if line.startswith("blackhole")]


@pytest.mark.parametrize("release", ["v0.14", "v0.9.1"])
def test_a_host_whose_lease_is_in_the_other_etcd(cluster: Cluster, backend: str, release: str) -> None:
    """Those versions keep leases in etcd's v2 store, which no v3 client sees: subnet.env says what the host had."""
    cluster.configure(backend)
    two = join_peer(cluster)
    one = cluster.add_node(1, "--ip-masq")
    upstream = Upstream(one.host, release, backend)
    upstream.leave_subnet_env()
    upstream.leave_data_path([as_peer(two), DEAD])
    upstream.leave_firewall()
    assert one.container.address in upstream.subnet
    one.agent.start()
    one.agent.wait_ready()
    assert one.host.subnet == upstream.subnet
    assert set(cluster.leases()) == {one.lease_key, two.lease_key}
    assert_ping(one.container, two.container)
    wait_until(lambda: not one.routes_to(DEAD.subnet), "the route to the dead peer is gone")
    wait_until(lambda: firewall(one) == firewall(two), "the rules of a host that had no upstream")


def test_what_others_own_is_left_alone(cluster: Cluster, backend: str) -> None:
    """Through a start, peers that come and go, and full passes."""
    cluster.configure(backend)
    one, two = (
        cluster.add_node(1, "--ip-masq", "--kernel-resync=1", "--iptables-resync=1"),
        cluster.join(2)[0],
    )
    for command in FOREIGN:
        one.host.ip(command)
    one.host.execute("iptables", "-N", "FOREIGN")
    one.host.execute("iptables", "-A", "FORWARD", "-s", "10.5.0.0/16", "-j", "FOREIGN")
    before = one.foreign_state()
    one.agent.start()
    one.agent.wait_ready()
    wait_until(lambda: one.routes_to(two.host.subnet), "the peer is known")
    (three,) = cluster.join(3)
    wait_until(lambda: one.routes_to(three.host.subnet), "a newcomer is known")
    three.agent.stop()
    cluster.etcd.delete(three.lease_key)
    wait_until(lambda: not one.routes_to(three.host.subnet), "and forgotten")
    one.host.ip(f"route del {two.host.subnet}")
    wait_until(lambda: one.routes_to(two.host.subnet), "a pass has put the route back")
    assert one.foreign_state() == before


def test_a_device_that_does_not_fit_is_replaced_with_a_reason(cluster: Cluster) -> None:
    """The one exception: two devices of one name cannot stand side by side."""
    cluster.configure("vxlan", Port=8479)
    two = join_peer(cluster)
    one = cluster.add_node(1)
    upstream = Upstream(one.host, "v0.28", "vxlan")
    upstream.leave_subnet_env()
    leave_everything(cluster, upstream, [as_peer(two)])
    one.agent.start()
    one.agent.wait_ready()
    assert_ping(one.container, two.container)
    assert "dstport 8479" in one.host.ip("-d link show flannel.1")
    assert "8472" in one.agent.wait_log("flannel.1")
