# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WireGuard over time: peers, keys and endpoints that change, other backends, upstream's flanneld, modes, secrets."""

from __future__ import annotations

import json
import tarfile
import time
from pathlib import Path
from typing import Dict, List

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.cluster import Cluster
from tests.support.dummies import assert_dummies_ping
from tests.support.node import Node
from tests.support.traffic import Pinger, assert_no_ping, assert_ping
from tests.support.waiting import wait_until
from tests.support.wireguard import Capture, exists, index, show

pytestmark = [
    pytest.mark.modules("wireguard", "vxlan", "dummy"),
    pytest.mark.usefixtures("bundle"),
]
MARKER = b"weft: nobody but the two containers may read this"


def run_command(node: Node, *arguments: str) -> str:
    return node.host.execute(PYTHON, str(BUNDLE), *arguments, check=False)


def restart(node: Node) -> None:
    node.agent.start()
    node.agent.wait_ready()


def all_of_ours(node: Node) -> List[str]:
    """What only we would have in the kernel."""
    lines = [*node.host.ip("-o link").splitlines(), *node.routes(), *node.routes6(), *node.firewall()]
    return [line for line in lines if "flannel" in line.lower() or "proto 102" in line]


@pytest.mark.long
def test_f7_dummy_devices_in_the_subnets_reach_each_other(cluster: Cluster) -> None:
    cluster.configure("wireguard")
    one, two = cluster.join(1, 2)
    assert_dummies_ping(one.host, two.host)


def test_peers_come_and_go_and_change_their_key_under_traffic(cluster: Cluster) -> None:
    cluster.configure("wireguard")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
        there.wait_sent(30)
        (three,) = cluster.join(3)
        assert_ping(one.container, three.container)
        old = show(three).public_key

        # a host that lost its state directory and its device
        three.agent.kill()
        three.host.ip("link del flannel-wg")
        (three.host.lib_dir / "flanneld" / "wireguard.key").write_text("damaged")
        restart(three)
        new = show(three).public_key
        assert new != old
        assert "wireguard.key: it is damaged: it is not a key in base64" in three.agent.log
        wait_until(lambda: show(one).peers.keys() == {new, show(two).public_key}, "the old key is gone")
        assert show(one).peers[new].allowed == (str(three.host.subnet),)
        assert_ping(one.container, three.container)

        # a reboot
        three.agent.kill()
        three.host.ip("link del flannel-wg")
        restart(three)
        assert show(three).public_key == new
        assert_ping(three.container, one.container)

        three.agent.kill()
        cluster.etcd.ctl("del", three.lease_key)
        wait_until(lambda: new not in show(one).peers, "the peer is gone")
        there.wait_sent(30)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert show(one).peers.keys() == {show(two).public_key}


@pytest.mark.long
def test_a_roamed_endpoint_stays_also_over_a_restart(cluster: Cluster) -> None:
    """The other host sends from another port than its lease says, as behind NAT."""
    cluster.configure("wireguard")
    one, two = cluster.join(1, 2, flags=("--kernel-resync=1",))
    assert_ping(one.container, two.container)
    two.agent.kill()
    two.host.execute("wg", "set", "flannel-wg", "listen-port", "40000")
    assert_ping(two.container, one.container)
    roamed = f"{two.host.address}:40000"
    key = show(two).public_key
    wait_until(lambda: show(one).peers[key].endpoint == roamed, "the endpoint has roamed")
    with Pinger(one.container, two.container) as pinger:
        pinger.wait_seconds(3)
        one.agent.kill()
        restart(one)
        pinger.wait_seconds(3)
    pinger.assert_nothing_lost()
    assert show(one).peers[key].endpoint == roamed
    assert "put right" not in one.agent.log
    restart(two)  # which has its port back
    wait_until(lambda: show(two).port == 51820, "the port of the lease")
    assert_ping(two.container, one.container)


@pytest.mark.long
def test_to_vxlan_and_back_leaves_nothing(cluster: Cluster) -> None:
    cluster.configure("wireguard", ipv6=True)
    one, two = cluster.join(1, 2)
    subnet, key = one.host.subnet, show(one).public_key
    assert exists(one, "flannel-wg-v6")
    for backend in ("vxlan", "wireguard"):
        cluster.configure(backend, ipv6=True)
        for node in (one, two):
            assert node.agent.stop() == 0
        for node in (one, two):
            restart(node)
        other = "flannel-wg" if backend == "vxlan" else "flannel.1"
        wait_until(lambda: other not in str(all_of_ours(one)), f"{other} and what hung on it is gone")  # noqa: B023
        assert not [line for line in all_of_ours(one) if "blackhole" in line and backend == "vxlan"]
        assert one.host.subnet == subnet
        assert_ping(one.container, two.container)
    assert show(one).public_key == key


def test_cleanup_leaves_nothing(cluster: Cluster) -> None:
    cluster.configure("wireguard", ipv6=True)
    (one,) = cluster.join(1)
    assert one.agent.stop() == 0
    assert run_command(one, "cleanup").startswith("removed:")
    assert all_of_ours(one) == []
    assert not (one.host.lib_dir / "flanneld" / "wireguard.key").exists()


def leave_upstreams_state(cluster: Cluster, node: Node, peer: Node) -> str:
    """Spec 5.7, of an upstream that was killed: its device, key, peer and lease. Returns its public key."""
    host = node.host
    key = host.execute("wg", "genkey").strip()
    (host.run_dir / "flannel").mkdir(exist_ok=True)
    (host.run_dir / "flannel" / "wgkey").write_text(key)
    (host.run_dir / "flannel" / "wgkey").chmod(0o400)
    host.ip("link add flannel-wg mtu 1420 type wireguard")
    host.execute(
        "wg", "set", "flannel-wg", "private-key", str(Path("/run/flannel/wgkey")), "listen-port", "51820"
    )
    host.ip("addr add 10.5.34.0/32 dev flannel-wg")
    host.ip("link set flannel-wg up")
    host.ip("route add 10.5.0.0/16 dev flannel-wg scope link")
    public = show(node).public_key
    theirs, subnet = show(peer).public_key, str(peer.host.subnet)
    endpoint = f"{peer.host.address}:51820"
    host.execute("wg", "set", "flannel-wg", "peer", theirs, "endpoint", endpoint, "allowed-ips", subnet)
    host.subnet_file.write_text(
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1420\nFLANNEL_IPMASQ=false\n"
    )
    value = {
        "PublicIP": str(host.address),
        "PublicIPv6": None,
        "BackendType": "wireguard",
        "BackendData": {"PublicKey": public, "Port": 51820},
    }
    cluster.put_with_lease("subnets/10.5.34.0-24", json.dumps(value, separators=(",", ":")))
    return public


@pytest.mark.long
@pytest.mark.parametrize("device_stands", [True, False], ids=["killed", "ended"])
def test_a_host_moves_from_upstream_in_place(cluster: Cluster, device_stands: bool) -> None:
    cluster.configure("wireguard")
    (two,) = cluster.join(2)
    one = cluster.add_node(1)
    public = leave_upstreams_state(cluster, one, two)
    before = cluster.leases()
    assert_ping(one.container, two.container)
    device = index(one)
    if device_stands:
        with Pinger(one.container, two.container) as there, Pinger(two.container, one.container) as back:
            there.wait_sent(20)
            restart(one)
            there.wait_sent(30)
        there.assert_nothing_lost()
        back.assert_nothing_lost()
        assert index(one) == device
    else:  # upstream takes its device along
        one.host.ip("link del flannel-wg")
        restart(one)
        assert_ping(one.container, two.container)
    assert show(one).public_key == public
    assert cluster.leases() == before
    key = one.host.lib_dir / "flanneld" / "wireguard.key"
    assert key.read_text().strip() == show(one).private_key
    assert (key.stat().st_mode & 0o777) == 0o600
    wait_until(lambda: "10.5.0.0/16 dev flannel-wg proto 102 scope link" in one.routes(), "the route is ours")


@pytest.mark.long
@pytest.mark.parametrize(
    ("mode", "ipv6", "outer"),
    [
        ("auto", False, "192.0.2.2:51820"),
        ("ipv6", False, "[fd00:192::2]:51820"),
        ("ipv6", True, "[fd00:192::2]:51820"),
    ],
    ids=["auto, IPv4 network", "ipv6, IPv4 network", "ipv6, dual stack"],
)
def test_one_device_for_both_families(cluster: Cluster, mode: str, ipv6: bool, outer: str) -> None:
    cluster.configure("wireguard", ipv6=ipv6, Mode=mode)
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    assert_ping(two.container, one.container)
    (peer,) = show(one).peers.values()
    assert peer.endpoint == outer
    assert not exists(one, "flannel-wg-v6")
    if ipv6:
        assert_ping(one.container.over_ipv6, two.container.over_ipv6)
        assert sorted(peer.allowed) == sorted((str(two.host.subnet), str(two.host.subnet6)))
        assert json.loads(cluster.leases()[two.lease_key])["BackendV6Data"]["Port"] == 51820


def write_psk(node: Node, psk: str) -> None:
    path = node.host.run_dir / "psk"
    path.write_text(psk + "\n")
    path.chmod(0o600)


@pytest.mark.long
def test_a_psk_of_the_hosts_and_no_secret_anywhere(cluster: Cluster) -> None:
    cluster.configure("wireguard", PersistentKeepaliveInterval=25)
    nodes = [cluster.add_node(number, "--wireguard-psk-file=/run/psk", "--v=4") for number in (1, 2)]
    one, two = nodes
    right, wrong = (one.host.execute("wg", "genpsk").strip() for _psk in range(2))
    for node in nodes:
        write_psk(node, right)
    for node in nodes:
        restart(node)
    assert_ping(one.container, two.container)
    (peer,) = show(one).peers.values()
    assert (peer.psk, peer.keepalive) == (right, "25")
    assert oct((one.host.lib_dir / "flanneld" / "wireguard.key").stat().st_mode & 0o777) == "0o600"

    texts: Dict[str, str] = {"log": one.agent.log, "status": run_command(one, "status", "--json")}
    one.host.execute(PYTHON, str(BUNDLE), "dump", "/run/dump.tar.gz", "--wireguard-psk-file=/run/psk")
    with tarfile.open(one.host.run_dir / "dump.tar.gz") as archive:
        for member in archive:
            part = archive.extractfile(member)
            texts[member.name] = part.read().decode(errors="replace") if part else ""
    assert any(name.endswith("kernel/wireguard.txt") for name in texts)
    secrets = (right, show(one).private_key)
    assert [name for name, text in texts.items() for secret in secrets if secret in text] == []

    two.agent.kill()
    write_psk(two, wrong)
    two.host.ip("link del flannel-wg")  # with its sessions
    restart(two)
    assert_no_ping(two.container, one.container)


@pytest.mark.long
def test_nothing_leaves_in_clear_when_the_device_is_gone(cluster: Cluster) -> None:
    cluster.configure("wireguard")
    one, two = cluster.join(1, 2)
    assert_ping(one.container, two.container)
    one.agent.kill()
    with Capture(cluster, one, MARKER) as capture, Pinger(one.container, two.container, MARKER) as pinger:
        pinger.wait_sent(20)
        one.host.ip("link del flannel-wg")
        pinger.wait_sent(30)
        restart(one)
        pinger.wait_sent(30)
        time.sleep(1)
    assert capture.encrypted > 0
    assert capture.readable == 0
    assert_ping(one.container, two.container)
