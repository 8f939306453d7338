# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers on two hosts can do over WireGuard, in both families, and what the network between them sees."""

from __future__ import annotations

import json
import socket
import time
from typing import Iterator

import pytest

from tests.support.agent import BUNDLE, PYTHON
from tests.support.cluster import Cluster
from tests.support.netns import OUTSIDE_ADDRESS
from tests.support.traffic import (
    Pinger,
    assert_ping,
    assert_transfer,
    datagram_fits,
    source_seen,
)
from tests.support.wireguard import Capture, index, show

pytestmark = [pytest.mark.modules("wireguard"), pytest.mark.usefixtures("bundle")]
REKEY_AFTER = 120  # seconds after which traffic asks for a new handshake; a busy machine takes that long
MTU = 1420
MARKER = b"weft: nobody but the two containers may read this"


@pytest.fixture(scope="module")
def pair(bundle: None) -> Iterator[Cluster]:
    """Two nodes that masquerade, with both families. No test here changes them for good."""
    with Cluster() as cluster:
        cluster.configure("wireguard", ipv6=True)
        one, two = cluster.join(1, 2, flags=("--ip-masq",))
        assert_ping(one.container, two.container)
        yield cluster


def test_containers_reach_each_other_under_their_own_addresses(pair: Cluster) -> None:
    one, two = (node.container for node in pair.nodes)
    for source, target in ((one, two), (one.over_ipv6, two.over_ipv6)):
        assert_ping(source, target)
        assert_ping(target, source)
        assert source_seen(source, target, target.address) == str(source.address)
    assert_transfer(one, two, 2_000_000)


def test_a_host_reaches_containers(pair: Cluster) -> None:
    one, two = pair.nodes
    assert source_seen(one.host, two.container, two.container.address) == str(one.host.subnet.network_address)


def test_outside_a_container_is_seen_as_its_host(pair: Cluster) -> None:
    one = pair.nodes[0]
    assert source_seen(one.container, pair.switch, OUTSIDE_ADDRESS) == str(one.host.address)


def test_a_packet_of_exactly_the_mtu_passes_and_one_byte_more_does_not(pair: Cluster) -> None:
    one, two = (node.container for node in pair.nodes)
    unaware = pair.nodes[0].host.add_container(mtu=9000)
    for source, target in ((one, two), (one.over_ipv6, two.over_ipv6), (unaware, two)):
        assert datagram_fits(source, target, MTU)
        assert not datagram_fits(source, target, MTU + 1)
    assert pair.nodes[0].host.subnet_env["FLANNEL_MTU"] == str(MTU)


def test_the_lease_to_the_byte(pair: Cluster) -> None:
    for node in pair.nodes:
        keys = {device: show(node, device).public_key for device in ("flannel-wg", "flannel-wg-v6")}
        assert len(set(keys.values())) == 1
        key = keys["flannel-wg"]
        assert pair.leases()[node.lease_key] == (
            f'{{"PublicIP":"{node.host.address}","PublicIPv6":"{node.host.address6}","BackendType":"wireguard",'
            f'"BackendData":{{"PublicKey":"{key}","Port":51820}},'
            f'"BackendV6Data":{{"PublicKey":"{key}","Port":51821}}}}'
        )


def test_what_wg_reads_is_what_we_mean(pair: Cluster) -> None:
    one, two = pair.nodes
    key = show(two).public_key
    for device, port, subnet, endpoint in (
        ("flannel-wg", 51820, two.host.subnet, f"{two.host.address}:51820"),
        ("flannel-wg-v6", 51821, two.host.subnet6, f"[{two.host.address6}]:51821"),
    ):
        there = show(one, device)
        assert there.port == port
        (peer,) = there.peers.items()
        assert peer[0] == key
        assert (peer[1].psk, peer[1].endpoint, peer[1].keepalive) == ("(none)", endpoint, "off")
        assert peer[1].allowed == (str(subnet),)
    assert "10.5.0.0/16 dev flannel-wg proto 102 scope link" in one.routes()
    assert any(line.startswith("blackhole 10.5.0.0/16 proto 102") for line in one.routes())
    assert any(line.startswith("fd05::/48 dev flannel-wg-v6 proto 102") for line in one.routes6())


def test_nothing_is_readable_on_the_way_and_nothing_lost_while_the_agent_is_killed_and_restarted(
    pair: Cluster,
) -> None:
    one, two = pair.nodes
    device, handshakes = index(one), {key: peer.handshake for key, peer in show(one).peers.items()}
    there = Pinger(one.container, two.container, MARKER)
    back = Pinger(two.container.over_ipv6, one.container.over_ipv6, MARKER)
    with there, back, Capture(pair, one, MARKER) as capture:
        there.wait_sent(30)
        one.agent.kill()
        there.wait_sent(30)
        one.agent.start()
        one.agent.wait_ready()
        there.wait_sent(30)
    there.assert_nothing_lost()
    back.assert_nothing_lost()
    assert capture.encrypted > there.sent
    assert capture.readable == 0
    assert index(one) == device
    for key, peer in show(one).peers.items():
        new = peer.handshake - handshakes[key]
        assert new == 0 or new >= REKEY_AFTER, "a handshake that WireGuard would not have made by itself"
    assert not [line for line in one.agent.log.splitlines() if "put right" in line]


def test_control_what_is_readable_is_seen(pair: Cluster) -> None:
    """From a container to the outside, in clear: the capture can fail."""
    one = pair.nodes[0]
    with Capture(pair, one, MARKER) as capture, one.container.open_socket(socket.SOCK_DGRAM) as sender:
        sender.sendto(MARKER, (str(OUTSIDE_ADDRESS), 9))
        sender.sendto(MARKER, (str(OUTSIDE_ADDRESS), 9))
        time.sleep(1)
    assert capture.readable > 0


def test_status_check_and_secrets(pair: Cluster) -> None:
    one = pair.nodes[0]
    status = json.loads(one.host.execute(PYTHON, str(BUNDLE), "status", "--json"))
    assert status["ready"], status["not_ready"]
    secret = show(one).private_key
    assert secret not in json.dumps(status)
    assert secret not in one.agent.log


def test_check_tells_of_a_key_that_is_not_that_of_the_lease(pair: Cluster) -> None:
    """The agent that starts again publishes what the device has, and the other host follows."""
    one, two = pair.nodes
    command = (PYTHON, str(BUNDLE), "check", f"--etcd-endpoints={pair.etcd.endpoint}")
    line = "the device has the key of our lease"
    assert f"ok    {line}" in one.host.execute(*command, check=False)
    before = show(one).public_key
    one.agent.stop()
    one.host.execute(
        "sh", "-c", "wg genkey > /run/key && wg set flannel-wg private-key /run/key; rm /run/key"
    )
    said = one.host.execute(*command, check=False)
    assert f"flannel-wg has the key {show(one).public_key}, and our lease tells the others {before}" in said
    one.agent.start()
    one.agent.wait_ready()
    assert_ping(one.container, two.container)
    assert f"ok    {line}" in one.host.execute(*command, check=False)
