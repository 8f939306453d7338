# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What we tell WireGuard and what it tells us, read and written with pyroute2; and when an endpoint is set."""

from __future__ import annotations

import base64
import errno
import struct
from ipaddress import ip_address, ip_network

import pytest
from flanneld.reconciler import Reconciler
from flanneld.tables import Change, wireguard
from flanneld.tables.rtnetlink import Message
from flanneld.tables.scope import Scope
from flanneld.tables.wireguard import (
    AllowedSource,
    AllowedSourceTable,
    WireguardDeviceTable,
    WireguardPeer,
    WireguardPeerTable,
    WireguardSettings,
)
from flanneld.tables.wireguard_keys import NO_PSK, Secret, derive_public_key, format_key, generate_private_key
from flanneld.tables.wireguard_link import WireguardLink
from flanneld.tables.wireguard_netlink import (
    Endpoint,
    FoundDevice,
    FoundPeer,
    pack_allowed,
    pack_disallowed,
    pack_peer,
    pack_removal,
    pack_settings,
    parse_device,
)
from pyroute2.netlink.generic.wireguard import wgmsg

PRIVATE = generate_private_key()
PUBLIC = derive_public_key(PRIVATE)
ONE, TWO, THREE = (format_key(bytes([number] * 32)) for number in (1, 2, 3))
PSK = Secret(bytes([7] * 32))
HERE, THERE = Endpoint(ip_address("192.0.2.2"), 51820), Endpoint(ip_address("192.0.2.3"), 51820)
HERE6 = Endpoint(ip_address("2001:db8::2"), 51821)
SUBNET, SUBNET6 = ip_network("10.5.72.0/24"), ip_network("fd05:0:0:48::/64")
SCOPE = Scope(frozenset({"flannel-wg"}), "eth0", ())
NOW = 1_800_000_000


def decode(body):
    """Our request as pyroute2 understands it."""
    message = wgmsg(struct.pack("=IHHII", 16 + len(body), 0x1F, 5, 1, 0) + body)
    message.decode()
    return message


def encode(**attributes):
    """A message of the kernel as pyroute2 writes it."""
    message = wgmsg()
    message["cmd"], message["version"] = 0, 1
    message["attrs"] = [[f"WGDEVICE_A_{name}", value] for name, value in attributes.items()]
    message["header"]["type"], message["header"]["flags"] = 0x1F, 2
    message.encode()
    return Message(0x1F, 2, bytes(message.data[16:]))


def encode_peer(key, *subnets, **attributes):
    sources = [
        {
            "attrs": [
                ["WGALLOWEDIP_A_FAMILY", 2 if one.version == 4 else 10],
                ["WGALLOWEDIP_A_IPADDR", one.network_address.packed],
                ["WGALLOWEDIP_A_CIDR_MASK", one.prefixlen],
            ]
        }
        for one in subnets
    ]
    parts = [
        ["WGPEER_A_PUBLIC_KEY", key],
        *([f"WGPEER_A_{name}", value] for name, value in attributes.items()),
    ]
    return {"attrs": parts + ([["WGPEER_A_ALLOWEDIPS", sources]] if sources else [])}


# --- what the kernel says


def test_a_device_is_read():
    message = encode(
        IFNAME="flannel-wg",
        PRIVATE_KEY=format_key(PRIVATE.reveal()),
        PUBLIC_KEY=PUBLIC,
        LISTEN_PORT=51820,
        PEERS=[
            encode_peer(
                ONE,
                SUBNET,
                SUBNET6,
                PRESHARED_KEY=format_key(PSK.reveal()),
                ENDPOINT={"addr": "192.0.2.2", "port": 51820},
                PERSISTENT_KEEPALIVE_INTERVAL=25,
                LAST_HANDSHAKE_TIME={"tv_sec": NOW, "tv_nsec": 5},
            ),
            encode_peer(TWO, ENDPOINT={"addr": "2001:db8::2", "port": 51821}),
        ],
    )
    found = parse_device([message])
    assert found == FoundDevice(
        PUBLIC,
        51820,
        {ONE: FoundPeer(PSK, HERE, 25, NOW, (SUBNET, SUBNET6)), TWO: FoundPeer(NO_PSK, HERE6)},
    )
    assert format_key(PRIVATE.reveal()) not in repr(found)
    assert format_key(PSK.reveal()) not in repr(found)


def test_a_new_device_is_read():
    assert parse_device([encode(IFNAME="flannel-wg", LISTEN_PORT=40000)]) == FoundDevice("", 40000, {})


def test_a_peer_goes_on_in_the_next_message():
    """linux/wireguard.h: then with its key and further allowed IPs only."""
    first = encode(
        PUBLIC_KEY=PUBLIC,
        LISTEN_PORT=51820,
        PEERS=[encode_peer(ONE, SUBNET, ENDPOINT={"addr": "192.0.2.2", "port": 51820})],
    )
    second = encode(PEERS=[encode_peer(ONE, SUBNET6), encode_peer(TWO)])
    assert parse_device([first, second]) == FoundDevice(
        PUBLIC, 51820, {ONE: FoundPeer(NO_PSK, HERE, allowed=(SUBNET, SUBNET6)), TWO: FoundPeer()}
    )


# --- what we ask for


def read_peers(body):
    return [dict(peer["attrs"]) for peer in decode(body).get_attr("WGDEVICE_A_PEERS") or ()]


def sources(peer):
    return [source["addr"] for source in peer.get("WGPEER_A_ALLOWEDIPS", ())]


def test_key_and_port_are_set_each_alone():
    both = decode(pack_settings("flannel-wg", PRIVATE, 51820))
    assert (both["cmd"], both.get_attr("WGDEVICE_A_IFNAME")) == (1, "flannel-wg")
    assert both.get_attr("WGDEVICE_A_PRIVATE_KEY") == PRIVATE_TEXT
    assert both.get_attr("WGDEVICE_A_LISTEN_PORT") == 51820
    port = decode(pack_settings("flannel-wg", None, 51820))
    assert (port.get_attr("WGDEVICE_A_PRIVATE_KEY"), port.get_attr("WGDEVICE_A_FLAGS")) == (None, None)


PRIVATE_TEXT = format_key(PRIVATE.reveal()).encode()


@pytest.mark.parametrize(
    ("endpoint", "seen"),
    [(HERE, ("192.0.2.2", 51820)), (HERE6, ("2001:db8::2", 51821)), (None, None)],
    ids=["IPv4", "IPv6", "left alone"],
)
def test_a_peer_is_made_or_changed_without_its_subnets(endpoint, seen):
    (peer,) = read_peers(pack_peer("flannel-wg", ONE, PSK, 25, endpoint))
    assert peer["WGPEER_A_PUBLIC_KEY"] == ONE.encode()
    assert peer["WGPEER_A_PRESHARED_KEY"] == format_key(PSK.reveal()).encode()
    assert peer["WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL"] == 25
    told = peer.get("WGPEER_A_ENDPOINT")
    assert (told and (told["addr"], told["port"])) == seen
    assert not {"WGPEER_A_FLAGS", "WGPEER_A_ALLOWEDIPS"} & peer.keys()


def test_a_peer_is_removed():
    assert read_peers(pack_removal("flannel-wg", ONE)) == [
        {"WGPEER_A_PUBLIC_KEY": ONE.encode(), "WGPEER_A_FLAGS": 1}
    ]


def test_a_subnet_is_given_to_a_peer_that_exists():
    (peer,) = read_peers(pack_allowed("flannel-wg", ONE, SUBNET6))
    assert peer["WGPEER_A_FLAGS"] == 4  # WGPEER_F_UPDATE_ONLY, and no replacing of the others
    assert sources(peer) == ["fd05:0:0:48::/64"]


def test_subnets_are_taken_away_by_a_peer_that_goes_at_once():
    first, second = read_peers(pack_disallowed("flannel-wg", THREE, [SUBNET, SUBNET6]))
    assert sources(first) == ["10.5.72.0/24", "fd05:0:0:48::/64"]
    assert "WGPEER_A_FLAGS" not in first
    assert second == {"WGPEER_A_PUBLIC_KEY": THREE.encode(), "WGPEER_A_FLAGS": 1}


# --- tables over a kernel made of Python


class Kernel:
    """One device, to which requests are done as linux/wireguard.h has it. requests: how many there were."""

    def __init__(self):
        self.public_key, self.port = "", 0
        self.peers = {}
        self.requests = 0
        self.refusal = None

    def read(self, name):
        found = {
            key: FoundPeer(p["psk"], p["endpoint"], p["keepalive"], p["handshake"], tuple(p["allowed"]))
            for key, p in self.peers.items()
        }
        return FoundDevice(self.public_key, self.port, found)

    def send(self, bodies):
        return [self._do(body) for body in bodies]

    def _do(self, body):
        self.requests += 1
        if self.refusal is not None:
            return self.refusal
        message = decode(body)
        key, port = message.get_attr("WGDEVICE_A_PRIVATE_KEY"), message.get_attr("WGDEVICE_A_LISTEN_PORT")
        self.public_key = PUBLIC if key == PRIVATE_TEXT else self.public_key
        self.port = self.port if port is None else port
        for peer in read_peers(body):
            self._do_peer(peer["WGPEER_A_PUBLIC_KEY"].decode(), peer)
        return None

    def _do_peer(self, key, peer):
        flags = peer.get("WGPEER_A_FLAGS", 0)
        if flags & 1:
            self.peers.pop(key, None)
            return
        if key not in self.peers:
            if flags & 4:
                return
            self.peers[key] = {"psk": NO_PSK, "endpoint": None, "keepalive": 0, "handshake": 0, "allowed": []}
        mine = self.peers[key]
        if "WGPEER_A_ENDPOINT" in peer:
            told = peer["WGPEER_A_ENDPOINT"]
            mine["endpoint"] = Endpoint(ip_address(told["addr"]), told["port"])
        if "WGPEER_A_PRESHARED_KEY" in peer:
            mine["psk"] = Secret(base64.b64decode(peer["WGPEER_A_PRESHARED_KEY"]))
        mine["keepalive"] = peer.get("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", mine["keepalive"])
        for text in sources(peer):
            for other in self.peers.values():
                other["allowed"] = [one for one in other["allowed"] if str(one) != text]
            mine["allowed"].append(ip_network(text))


@pytest.fixture
def kernel(monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(wireguard, "_send", kernel.send)
    return kernel


def make_agent(kernel, now=NOW):
    """A life of the agent, which may remove at once."""
    tables = (
        WireguardDeviceTable(SCOPE, ["flannel-wg"], kernel.read),
        WireguardPeerTable(SCOPE, ["flannel-wg"], kernel.read, lambda: now),
        AllowedSourceTable(SCOPE, ["flannel-wg"], kernel.read),
    )
    agent = Reconciler(tables)
    agent.want("node", [WireguardSettings("flannel-wg", PUBLIC, 51820, PRIVATE)])
    agent.allow_removal()
    return agent


def peer_of(key, subnet=SUBNET, endpoint=HERE, keepalive=0, psk=NO_PSK):
    return [
        WireguardPeer("flannel-wg", key, endpoint, keepalive, psk),
        AllowedSource("flannel-wg", subnet, key),
    ]


def settle(agent, full=True):
    if full:
        agent.mark_all()
    agent.reconcile()
    agent.reconcile()
    assert agent.settled, agent.problems()


def test_everything_is_made_and_then_left_alone(kernel):
    agent = make_agent(kernel)
    agent.want("a", peer_of(ONE, psk=PSK, keepalive=25))
    settle(agent)
    assert kernel.read("") == FoundDevice(PUBLIC, 51820, {ONE: FoundPeer(PSK, HERE, 25, 0, (SUBNET,))})
    done = kernel.requests
    settle(agent)
    assert kernel.requests == done


def test_a_restart_changes_nothing(kernel):
    first = make_agent(kernel)
    first.want("a", peer_of(ONE))
    settle(first)
    done = kernel.requests
    second = make_agent(kernel)
    second.want("a", peer_of(ONE))
    settle(second)
    assert kernel.requests == done
    assert not sum(second.repairs.values())


def roam(kernel, handshake, endpoint=THERE):
    kernel.peers[ONE].update(endpoint=endpoint, handshake=handshake)


@pytest.mark.parametrize("handshake", [NOW, NOW - 3600, 0])
def test_a_roamed_endpoint_is_no_drift(kernel, handshake):
    agent = make_agent(kernel)
    agent.want("a", peer_of(ONE))
    settle(agent)
    done = kernel.requests
    roam(kernel, handshake)
    settle(agent)
    assert (kernel.requests, kernel.peers[ONE]["endpoint"]) == (done, THERE)
    assert not sum(agent.repairs.values())
    # nor is it touched by what is to be changed besides
    agent.want("a", peer_of(ONE, keepalive=25))
    settle(agent)
    assert (kernel.peers[ONE]["endpoint"], kernel.peers[ONE]["keepalive"]) == (THERE, 25)


@pytest.mark.parametrize(
    ("handshake", "kept"), [(NOW - 100, THERE), (NOW - 200, HERE), (0, HERE)], ids=["fresh", "old", "never"]
)
def test_a_restart_keeps_a_roamed_endpoint_that_a_fresh_handshake_vouches_for(kernel, handshake, kept):
    first = make_agent(kernel)
    first.want("a", peer_of(ONE))
    settle(first)
    roam(kernel, handshake)
    second = make_agent(kernel)
    second.want("a", peer_of(ONE))
    settle(second)
    assert kernel.peers[ONE]["endpoint"] == kept


@pytest.mark.parametrize("lives", [1, 2])
@pytest.mark.parametrize("roamed", [False, True])
def test_a_new_address_in_the_lease_is_set_at_once(kernel, lives, roamed):
    for _life in range(lives):
        agent = make_agent(kernel)
        agent.want("a", peer_of(ONE))
        settle(agent)
    kernel.peers[ONE]["handshake"] = NOW
    if roamed:
        roam(kernel, NOW, Endpoint(ip_address("203.0.113.9"), 1024))
    agent.want("a", peer_of(ONE, endpoint=THERE))
    settle(agent, full=False)
    assert kernel.peers[ONE]["endpoint"] == THERE


def test_a_peer_without_an_endpoint_gets_one(kernel):
    agent = make_agent(kernel)
    agent.want("a", peer_of(ONE))
    settle(agent)
    roam(kernel, NOW, None)
    settle(agent)
    assert kernel.peers[ONE]["endpoint"] == HERE


def test_a_new_key_takes_the_subnet_before_the_old_one_goes(kernel, monkeypatch):
    agent = make_agent(kernel)
    agent.want("a", peer_of(ONE))
    settle(agent)
    owners = []

    def send(bodies):
        refusals = []
        for body in bodies:
            refusals += kernel.send([body])
            owners.append([key for key, peer in kernel.peers.items() if SUBNET in peer["allowed"]])
        return refusals

    monkeypatch.setattr(wireguard, "_send", send)
    agent.want("a", peer_of(TWO))
    settle(agent, full=False)
    assert owners == [[ONE], [TWO], [TWO]]
    assert list(kernel.peers) == [TWO]


def test_one_host_under_two_leases_has_both_subnets(kernel):
    """It came back under another lease, and the old one has not ended yet."""
    agent = make_agent(kernel)
    agent.want("old", peer_of(ONE, SUBNET))
    agent.want("new", peer_of(ONE, SUBNET6))
    settle(agent)
    assert kernel.peers[ONE]["allowed"] == [SUBNET, SUBNET6]
    agent.forget("old")
    settle(agent)
    assert {key: peer["allowed"] for key, peer in kernel.peers.items()} == {ONE: [SUBNET6]}


@pytest.mark.parametrize(
    ("damage", "table"),
    [
        (lambda kernel: setattr(kernel, "port", 1), "wireguard device"),
        (lambda kernel: setattr(kernel, "public_key", THREE), "wireguard device"),
        (lambda kernel: kernel.peers[ONE].update(psk=NO_PSK), "wireguard peer"),
        (lambda kernel: kernel.peers[ONE].update(keepalive=1), "wireguard peer"),
        (lambda kernel: kernel.peers.pop(ONE), "wireguard peer"),
        (lambda kernel: kernel.peers[ONE].update(allowed=[]), "wireguard allowed-ips"),
    ],
)
def test_drift_is_repaired(kernel, damage, table):
    agent = make_agent(kernel)
    agent.want("a", peer_of(ONE, psk=PSK, keepalive=25))
    settle(agent)
    before = kernel.read("")
    damage(kernel)
    settle(agent)
    assert kernel.read("") == before
    assert agent.repairs[table] == 1


def test_what_is_foreign_on_our_device_goes(kernel):
    agent = make_agent(kernel)
    agent.want("a", peer_of(ONE))
    settle(agent)
    before = kernel.read("")
    stranger = {"psk": PSK, "endpoint": THERE, "keepalive": 1, "handshake": NOW, "allowed": [SUBNET6]}
    kernel.peers[THREE] = stranger
    kernel.peers[ONE]["allowed"].append(ip_network("0.0.0.0/0"))
    settle(agent)
    assert kernel.read("") == before


def test_a_stolen_subnet_comes_back(kernel):
    agent = make_agent(kernel)
    agent.want("a", peer_of(ONE))
    agent.want("b", peer_of(TWO, SUBNET6))
    settle(agent)
    before = kernel.read("")
    kernel.peers[TWO]["allowed"].append(kernel.peers[ONE]["allowed"].pop())
    settle(agent)
    assert kernel.read("") == before


def test_a_port_in_use_is_named(kernel):
    kernel.refusal = OSError(errno.EADDRINUSE, "")
    table = WireguardDeviceTable(SCOPE, ["flannel-wg"], kernel.read)
    wanted = WireguardSettings("flannel-wg", PUBLIC, 51820, PRIVATE)
    (error,) = table.apply([Change(wanted.key, None, wanted)]).values()
    assert "UDP port 51820 is in use by another program" in str(error)
    assert "ss -lunp sport = :51820" in str(error)


def test_errors_name_the_peer_and_no_secret(kernel):
    kernel.refusal = OSError(errno.ENOMEM, "")
    table = WireguardPeerTable(SCOPE, ["flannel-wg"], kernel.read)
    wanted = WireguardPeer("flannel-wg", ONE, HERE, 0, PSK)
    error = table.apply([Change(wanted.key, None, wanted)])[wanted.key]
    assert f"wireguard peer {ONE} dev flannel-wg at 192.0.2.2:51820: Cannot allocate memory" in str(error)
    assert format_key(PSK.reveal()) not in repr((error, wanted))


def test_removal_from_a_device_that_is_gone_is_none(kernel):
    kernel.refusal = OSError(errno.ENODEV, "")
    peer, source = peer_of(ONE)
    assert WireguardPeerTable(SCOPE, []).apply([Change(peer.key, peer, None)]) == {}
    assert AllowedSourceTable(SCOPE, []).apply([Change(source.key, source, None)]) == {}
    assert WireguardPeerTable(SCOPE, []).apply([Change(peer.key, None, peer)]) != {}


def test_a_device_is_never_made_again():
    wanted = WireguardLink("flannel-wg", 1420, ipv6=True)
    assert wanted == WireguardLink("flannel-wg", 1420)
    assert wanted.find_immutable_difference(WireguardLink("flannel-wg", 1500, up=False)) is None
