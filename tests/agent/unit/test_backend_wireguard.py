# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What wireguard wants for a lease (spec 5.7; 10-A A18), and where its keys come from."""

from __future__ import annotations

import base64
import functools
import json
import logging
import pickle
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._interface import Interface, InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Attributes,
    Lease,
    format_value,
    parse_key,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6
from flanneld.backends import BackendError, Host, Node, WireguardKeys, find_backend, wireguard
from flanneld.instance import Instance
from flanneld.leasing.conflicts import Conflicts, Rules, find_fault, find_lack
from flanneld.options import parse_options
from flanneld.outputs import keys as keys_module
from flanneld.outputs.keys import make_wireguard_keys
from flanneld.outputs.state_dir import StateDir
from flanneld.tables import wireguard_netlink
from flanneld.tables.address import LinkAddress
from flanneld.tables.route import Route, blackhole_route
from flanneld.tables.scope import Scope
from flanneld.tables.underlay import Underlay
from flanneld.tables.wireguard import AllowedSource, WireguardPeer, WireguardSettings
from flanneld.tables.wireguard_keys import NO_PSK, Secret, derive_public_key, format_key, generate_private_key
from flanneld.tables.wireguard_link import WireguardLink
from flanneld.tables.wireguard_netlink import Endpoint

ETH0 = Interface(2, "eth0", 1500, ())
PRIVATE = Secret(bytes(range(32)))
PUBLIC = derive_public_key(PRIVATE)
PSK = Secret(bytes([7] * 32))
LOCAL = wireguard.Local(PRIVATE, PUBLIC)
KEY, KEY6 = (format_key(bytes([number] * 32)) for number in (2, 6))
UNDERLAY = Underlay(
    "eth0", 2, 1500, True, (ip_interface("192.0.2.1/24"),), ((ip_network("192.0.2.0/24"), "eth0"),)
)
OWN = Lease(parse_key("10.5.34.0-24&fd05:0:0:7::-64"), Attributes())
GLOBAL4, GLOBAL6, UNIQUE6, TEN = "192.0.2.2", "2001:db8::2", "fd00::2", "10.99.0.2"


def choose(ipv4="192.0.2.1", ipv6="2001:db8::1"):
    v4, v6 = ipv4 and ip_address(ipv4), ipv6 and ip_address(ipv6)
    return InterfaceChoice(ETH0, v4 or None, v6 or None, v4 or None, v6 or None, "asked for")


def configure(ipv4=True, ipv6=True, **options):
    document = {"EnableIPv4": ipv4, "EnableIPv6": ipv6, "Backend": {"Type": "wireguard", **options}}
    document.update({"Network": "10.5.0.0/16"} if ipv4 else {})
    document.update({"IPv6Network": "fd05::/48"} if ipv6 else {})
    return parse_config(json.dumps(document))


def node(config, choice=None, local=LOCAL, own=OWN):
    return Node(Instance(), config, choice or choose(), own, local)


def data(key, port=None):
    return json.dumps({"PublicKey": key, **({} if port is None else {"Port": port})})


def peer(v4=GLOBAL4, v6=GLOBAL6, port=51820, port6=51821, key="10.5.72.0-24&fd05:0:0:48::-64", **changes):
    return Lease(
        parse_key(key),
        replace(
            Attributes(
                v4 and ip_address(v4),
                v6 and ip_address(v6),
                "wireguard",
                data(KEY, port),
                data(KEY, port6),
            ),
            **changes,
        ),
    )


def objects(config, lease, choice=None, local=LOCAL):
    return list(wireguard.desired_for(node(config, choice, local), lease, UNDERLAY))


def endpoints(config, lease, choice=None):
    return {str(one.endpoint) for one in objects(config, lease, choice) if isinstance(one, WireguardPeer)}


SUBNET, SUBNET6 = ip_network("10.5.72.0/24"), ip_network("fd05:0:0:48::/64")


# --- the node


def test_it_is_found_by_its_name():
    assert find_backend(configure()) is wireguard


def test_separate_has_a_device_for_each_family():
    assert list(wireguard.desired(node(configure()), UNDERLAY)) == [
        WireguardLink("flannel-wg", 1420),
        WireguardSettings("flannel-wg", PUBLIC, 51820),
        WireguardLink("flannel-wg-v6", 1420),
        WireguardSettings("flannel-wg-v6", PUBLIC, 51821),
        LinkAddress("flannel-wg", ip_interface("10.5.34.0/32")),
        Route(ip_network("10.5.0.0/16"), None, "flannel-wg", scope=253),
        blackhole_route(ip_network("10.5.0.0/16")),
        LinkAddress("flannel-wg-v6", ip_interface("fd05:0:0:7::/128")),
        Route(ip_network("fd05::/48"), None, "flannel-wg-v6"),
        blackhole_route(ip_network("fd05::/48")),
    ]


@pytest.mark.parametrize("mode", ["auto", "ipv4", "ipv6"])
def test_the_other_modes_have_one_for_both(mode):
    things = list(wireguard.desired(node(configure(Mode=mode, ListenPort=4000)), UNDERLAY))
    assert [thing for thing in things if isinstance(thing, (WireguardLink, WireguardSettings))] == [
        WireguardLink("flannel-wg", 1420),
        WireguardSettings("flannel-wg", PUBLIC, 4000),
    ]
    assert [thing.destination for thing in things if isinstance(thing, Route) and thing.device] == [
        ip_network("10.5.0.0/16"),
        ip_network("fd05::/48"),
    ]


@pytest.mark.parametrize("mode", ["separate", "auto", "ipv4", "ipv6"])
def test_a18_every_mode_works_without_ipv6network(mode):
    config, lease = configure(ipv6=False, Mode=mode), peer(key="10.5.72.0-24")
    own = Lease(parse_key("10.5.34.0-24"), Attributes())
    things = list(wireguard.desired(node(config, own=own), UNDERLAY))
    assert {str(thing.destination) for thing in things if isinstance(thing, Route)} == {"10.5.0.0/16"}
    assert AllowedSource("flannel-wg", SUBNET, KEY) in objects(config, lease)
    # what travels in IPv6 needs an address of it, although containers have none
    assert config.underlay_families == ((IPV4, IPV6) if mode == "ipv6" else (IPV4,))
    assert endpoints(config, lease) == {"[2001:db8::2]:51820" if mode == "ipv6" else "192.0.2.2:51820"}


def test_the_mtu_leaves_80_bytes():
    assert wireguard.mtu(configure(), UNDERLAY.mtu) == 1420
    assert wireguard.mtu(configure(MTU=9000), UNDERLAY.mtu) == 8920


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (configure(ipv6=False), ('"BackendData":{"PublicKey":"KEY","Port":51820}',)),
        (
            configure(),
            (
                '"BackendData":{"PublicKey":"KEY","Port":51820}',
                '"BackendV6Data":{"PublicKey":"KEY","Port":51821}',
            ),
        ),
        (configure(ipv4=False), ('"BackendV6Data":{"PublicKey":"KEY","Port":51821}',)),
        (
            configure(Mode="ipv6", ListenPort=4000),
            (
                '"BackendData":{"PublicKey":"KEY","Port":4000}',
                '"BackendV6Data":{"PublicKey":"KEY","Port":4000}',
            ),
        ),
    ],
    ids=["IPv4", "dual stack", "IPv6", "one device"],
)
def test_the_lease_to_the_byte(config, told):
    choice = choose(
        "192.0.2.1" if IPV4 in config.families else "", "2001:db8::1" if IPV6 in config.families else ""
    )
    head = (
        f'{{"PublicIP":"{choice.public_ip or "0.0.0.0"}",'
        f'"PublicIPv6":{json.dumps(choice.public_ipv6 and str(choice.public_ipv6))},"BackendType":"wireguard",'
    )
    assert format_value(wireguard.attributes(LOCAL, choice, config)) == (
        head + ",".join(told).replace("KEY", PUBLIC) + "}"
    )


def test_tables_are_for_our_devices_only():
    scope = Scope(frozenset({"flannel-wg", "flannel.1"}), "eth0", ())
    tables = wireguard.tables(Instance(), scope)
    assert [table.name for table in tables] == [
        "wireguard device",
        "wireguard peer",
        "wireguard allowed-ips",
    ]
    assert {table._devices for table in tables} == {("flannel-wg",)}
    assert not tables[1].owns(WireguardPeer("wg0", KEY, None))
    assert tables[1].owns(WireguardPeer("flannel-wg", KEY, None))


# --- a peer


def test_a_peer_of_both_families_in_separate_mode():
    at4, at6 = Endpoint(ip_address(GLOBAL4), 51820), Endpoint(ip_address(GLOBAL6), 51821)
    local = replace(LOCAL, psk=PSK)
    assert objects(configure(PersistentKeepaliveInterval=25), peer(), local=local) == [
        WireguardPeer("flannel-wg", KEY, at4, 25, PSK),
        AllowedSource("flannel-wg", SUBNET, KEY),
        WireguardPeer("flannel-wg-v6", KEY, at6, 25, PSK),
        AllowedSource("flannel-wg-v6", SUBNET6, KEY),
    ]


def test_a_peer_of_both_families_on_one_device():
    at = Endpoint(ip_address(GLOBAL4), 51820)
    assert objects(configure(Mode="ipv4"), peer()) == [
        WireguardPeer("flannel-wg", KEY, at),
        AllowedSource("flannel-wg", SUBNET, KEY),
        WireguardPeer("flannel-wg", KEY, at),
        AllowedSource("flannel-wg", SUBNET6, KEY),
    ]


@pytest.mark.parametrize(
    ("v4", "v6", "own6", "at"),
    [
        (GLOBAL4, None, "2001:db8::1", "192.0.2.2:51820"),  # it has no IPv6
        (GLOBAL4, GLOBAL6, "2001:db8::1", "192.0.2.2:51820"),  # its IPv4 is public
        (TEN, GLOBAL6, "2001:db8::1", "[2001:db8::2]:51820"),  # both have a public IPv6
        (TEN, UNIQUE6, "2001:db8::1", "10.99.0.2:51820"),  # its IPv6 is private
        (TEN, GLOBAL6, "fd00::1", "10.99.0.2:51820"),  # ours is
        (TEN, GLOBAL6, "", "10.99.0.2:51820"),  # we have none
        (None, GLOBAL6, "2001:db8::1", "[2001:db8::2]:51820"),  # it has no IPv4
    ],
)
def test_auto_chooses_for_each_peer(v4, v6, own6, at):
    assert endpoints(configure(Mode="auto"), peer(v4, v6), choose(ipv6=own6)) == {at}


@pytest.mark.parametrize(
    ("mode", "v4", "v6", "at"),
    [
        ("ipv4", GLOBAL4, GLOBAL6, "192.0.2.2:51820"),
        ("ipv6", GLOBAL4, GLOBAL6, "[2001:db8::2]:51820"),
        ("ipv6", GLOBAL4, None, "192.0.2.2:51820"),
        ("ipv4", None, GLOBAL6, "[2001:db8::2]:51820"),
    ],
)
def test_the_mode_decides_where_both_have_both(mode, v4, v6, at):
    assert endpoints(configure(Mode=mode), peer(v4, v6)) == {at}


def test_a_peer_that_shares_no_family_with_us_gets_nothing():
    assert objects(configure(Mode="auto"), peer(None, GLOBAL6), choose(ipv6="")) == []


@pytest.mark.parametrize(
    ("changes", "port"),
    [
        ({}, 51820),
        ({"port": 4000}, 4000),  # an upstream of that ListenPort, or ours
        ({"port": None, "port6": None}, 51820),  # before v0.26.6
        (
            {"backend_data": None},
            51820,
        ),  # upstream without IPv4: it tells ListenPortV6, and listens on ListenPort
        ({"backend_data": None, "port6": 4000}, 4000),  # ours: it tells what it listens on
    ],
)
def test_a18_in_mode_ipv6_the_port_is_the_one_that_the_device_listens_on(changes, port):
    assert endpoints(configure(Mode="ipv6"), peer(**changes)) == {f"[2001:db8::2]:{port}"}


def test_a_missing_port_is_our_own():
    config = configure(ListenPort=4000, ListenPortV6=4001)
    for nothing in (None, 0):
        assert endpoints(config, peer(port=nothing, port6=nothing)) == {
            "192.0.2.2:4000",
            "[2001:db8::2]:4001",
        }


@pytest.mark.parametrize(
    "lack", [{"backend_v6_data": None}, {"public_ipv6": None}, {"backend_v6_data": '{"PublicKey":"zz"}'}]
)
def test_a_peer_gets_the_families_it_has(lack):
    things = objects(configure(), peer(**lack))
    assert [type(thing) for thing in things] == [WireguardPeer, AllowedSource]
    assert things[1] == AllowedSource("flannel-wg", SUBNET, KEY)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"backend_type": "vxlan"}, "BackendType is vxlan, this host runs wireguard"),
        ({"backend_type": ""}, "BackendType is missing"),
        ({"backend_data": None}, "BackendData has no valid PublicKey and Port"),
        ({"backend_data": "[]"}, "no valid"),
        ({"backend_data": '{"PublicKey":7}'}, "no valid"),
        ({"backend_data": data("not base64!")}, "no valid"),
        ({"backend_data": data(base64.b64encode(bytes([1] * 31)).decode())}, "no valid"),
        ({"backend_data": data(format_key(bytes(32)))}, "no valid"),  # all zero: nobody can own it
        ({"backend_data": data(KEY, 65536)}, "no valid"),
        ({"backend_data": data(KEY, -1)}, "no valid"),
        ({"backend_data": data(KEY, True)}, "no valid"),
        ({"backend_data": data(KEY, "51820")}, "no valid"),
        ({"backend_data": data(KEY, 1.5)}, "no valid"),
    ],
)
def test_a_bad_lease_is_refused_by_name(attributes, reason):
    assert reason in wireguard.refuse(peer(**attributes), IPV4)
    assert wireguard.refuse(peer(), IPV4) is None


@pytest.mark.parametrize("text", ['{"publickey":"KEY","PORT":4000}', '{"Port":4000,"x":1,"PublicKey":"KEY"}'])
def test_keys_are_read_in_any_case_and_order(text):
    lease = peer(backend_data=text.replace("KEY", KEY))
    assert wireguard.refuse(lease, IPV4) is None
    assert list(wireguard.claims(lease, IPV4)) == [KEY]
    assert "192.0.2.2:4000" in endpoints(configure(), lease)


def test_it_claims_the_public_key():
    lease = peer(backend_v6_data=data(KEY6))
    assert (list(wireguard.claims(lease, IPV4)), list(wireguard.claims(lease, IPV6))) == ([KEY], [KEY6])
    assert list(wireguard.claims(peer(backend_data=None), IPV4)) == []


# --- how leases are judged: by the address that packets really go to


def make_rules(config, choice=None):
    choice = choice or choose()
    return Rules(
        own=OWN,
        config=config,
        underlay=(ip_network("192.0.2.0/24"),),
        own_addresses=frozenset(filter(None, (choice.ipv4, choice.ipv6))),
        own_claims=frozenset({PUBLIC}),
        address=functools.partial(wireguard.find_address, node(config, choice)),
        refuse=wireguard.refuse,
        claims=wireguard.claims,
    )


V4_ONLY = {"ipv6": False}
V4_KEY = {"key": "10.5.72.0-24"}


@pytest.mark.parametrize(
    ("options", "changes", "own6", "reason"),
    [
        # nowhere to send to: it was a peer without a data path
        ({"Mode": "auto"}, {"v4": None}, "", "it has no public IP"),
        ({"Mode": "ipv6", **V4_ONLY}, {"v4": None, "v6": None, **V4_KEY}, "2001:db8::1", "it has no public IP"),
        # addresses of the family that the network config does not turn on, and packets travel in
        ({"Mode": "ipv6", **V4_ONLY}, {"v6": "ff02::1", **V4_KEY}, "2001:db8::1", "is a multicast address"),
        ({"Mode": "ipv6", **V4_ONLY}, {"v6": "::", **V4_KEY}, "2001:db8::1", "is a unspecified address"),
        ({"Mode": "ipv6", **V4_ONLY}, {"v6": "2001:db8::1", **V4_KEY}, "2001:db8::1", "is our own address"),
        # inside any overlay subnet: the tunnel would go through itself
        (
            {"Mode": "ipv6"}, {"v6": "fd05:0:0:48::2", **V4_KEY, "key": "10.5.72.0-24&fd05:0:0:48::-64"},
            "2001:db8::1", "lies inside the overlay subnet fd05:0:0:48::/64",
        ),
        ({"Mode": "ipv6"}, {"v6": "fd05:0:0:7::2", **V4_KEY}, "2001:db8::1", "the overlay subnet fd05:0:0:7::/64"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused_by_name(options, changes, own6, reason):
    rules = make_rules(configure(**options), choose(ipv6=own6))
    assert reason in (find_fault(rules, peer(**changes)) or "")


@pytest.mark.parametrize("mode", ["auto", "ipv4", "ipv6"])
def test_one_family_of_addresses_does_for_both_on_one_device(mode):
    for lease in (peer(v6=None), peer(v4=None)):
        rules = make_rules(configure(Mode=mode))
        assert (find_fault(rules, lease), find_lack(rules, lease)) == (None, None)
        assert len(objects(configure(Mode=mode), lease)) == 4
    assert find_lack(make_rules(configure()), peer(v6=None)) == "it has no public IPv6"


def test_a_family_that_this_host_lacks_is_named():
    rules = make_rules(configure(Mode="auto"), choose(ipv4=""))
    assert find_fault(rules, peer(v6=None)) == (
        "this host has no IPv4 address to reach its public IP 192.0.2.2 from"
    )


def test_what_is_published_and_not_used_is_nothing_to_us():
    rules = make_rules(configure(Mode="ipv4", **V4_ONLY))
    assert find_fault(rules, peer(v6="2001:db8::1", **V4_KEY)) is None


def test_an_older_lease_over_the_address_that_packets_go_to():
    conflicts = Conflicts(make_rules(configure(Mode="ipv6")))
    older = replace(peer(key="10.5.80.0-24&fd05:0:0:50::-64", backend_data=data(KEY6)), create_revision=1)
    younger = replace(peer(v6="fd05:0:0:50::9", **V4_KEY), create_revision=2)
    conflicts.put(younger)
    assert conflicts.put(older) == {older.key, younger.key}
    assert conflicts.find_reason(younger.key) == (
        f"public IP fd05:0:0:50::9 lies inside the older lease {older.key}"
    )
    assert conflicts.remove(older.key) == {younger.key}
    assert conflicts.find_reason(younger.key) is None
    assert conflicts.remove(younger.key) == set()


# --- prepare


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.setattr(wireguard, "has_kind", lambda kind: kind == "wireguard")


def make_host(kept=None, psk=None, choice=None):
    told = []
    keys = WireguardKeys(lambda device: kept, told.append, lambda: psk)
    marked = []
    host = Host(
        Instance(), choice or choose(), lambda d: None, lambda d: None, lambda d, m: None, marked.append, keys
    )
    return host, told, marked


def test_prepare_keeps_the_key_it_has(kernel):
    host, told, marked = make_host(PRIVATE)
    assert wireguard.prepare(host, configure()) == wireguard.Local(PRIVATE, PUBLIC, NO_PSK)
    assert told == [PRIVATE]
    assert marked == ["flannel-wg", "flannel-wg-v6"]


def test_prepare_makes_a_key(kernel):
    host, told, _marked = make_host()
    local = wireguard.prepare(host, configure(Mode="auto"))
    assert told == [local.private_key]
    assert local.public_key == derive_public_key(local.private_key)
    assert wireguard.prepare(make_host()[0], configure()).private_key != local.private_key


def test_the_hosts_psk_counts_before_that_of_the_config(kernel, caplog):
    caplog.set_level(logging.DEBUG)
    text = format_key(bytes([9] * 32))
    config = configure(PSK=text)
    assert wireguard.prepare(make_host(PRIVATE)[0], config).psk == Secret(bytes([9] * 32))
    assert wireguard.prepare(make_host(PRIVATE, PSK)[0], config).psk == PSK
    assert "pre-shared key yes" in caplog.text
    assert PUBLIC in caplog.text
    for secret in (text, format_key(PSK.reveal()), format_key(PRIVATE.reveal())):
        assert secret not in caplog.text


def test_without_the_module_nothing_is_touched(monkeypatch):
    monkeypatch.setattr(wireguard, "has_kind", lambda kind: False)
    host, told, marked = make_host()
    with pytest.raises(BackendError, match=r"kernel has no wireguard.*modprobe wireguard"):
        wireguard.prepare(host, configure())
    assert (told, marked) == ([], [])


@pytest.mark.parametrize("options", [{"ListenPort": 0}, {"ListenPortV6": 0}, {"ListenPortV6": 51820}])
def test_ports_that_cannot_be(kernel, options):
    host, told, marked = make_host()
    with pytest.raises(ConfigError, match="ListenPort"):
        wireguard.prepare(host, configure(**options))
    assert (told, marked) == ([], [])
    if "ListenPortV6" in options:  # which nothing listens on in these
        wireguard.prepare(host, configure(Mode="auto", **options))
        wireguard.prepare(host, configure(ipv6=False, **options))


def test_no_secret_shows_in_a_repr():
    this = node(configure(PSK=format_key(PSK.reveal())), local=wireguard.Local(PRIVATE, PUBLIC, PSK))
    shown = repr(
        (this, list(wireguard.desired(this, UNDERLAY)), objects(this.config, peer(), local=this.local))
    )
    for secret in (PRIVATE, PSK):
        octets = secret.reveal()
        for text in (format_key(octets), octets.hex(), repr(octets)):
            assert text not in shown


# --- where the keys are


@pytest.fixture
def no_device(monkeypatch):
    monkeypatch.setattr(wireguard_netlink, "read_private_key", lambda device: None)


def options(*flags):
    return parse_options(flags, {})


def make_keys(tmp_path, *flags, **environment):
    state = StateDir(tmp_path / "state")
    return make_wireguard_keys(options(*flags), Instance("blue"), state, environment), state


def test_the_key_survives_in_the_state_directory(tmp_path, no_device):
    keys, state = make_keys(tmp_path)
    assert keys.recall("flannel-wg") is None
    keys.remember(PRIVATE)
    path = tmp_path / "state" / "wireguard.key"
    assert path.read_text() == format_key(PRIVATE.reveal()) + "\n"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert make_keys(tmp_path)[0].recall("flannel-wg") == PRIVATE
    assert [Path(name).name for name in state.list_secret_files()] == ["wireguard.key"]
    written = path.stat().st_mtime_ns, path.stat().st_ino
    keys.remember(PRIVATE)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == written
    assert str(path) in state.forget_all()


def test_the_device_that_stands_knows_best(tmp_path, monkeypatch):
    other = generate_private_key()
    monkeypatch.setattr(wireguard_netlink, "read_private_key", {"flannel-wg": other}.get)
    keys, state = make_keys(tmp_path)
    state.remember_wireguard_key(PRIVATE)
    assert keys.recall("flannel-wg") == other


@pytest.mark.parametrize(
    "damage",
    [b"", b"\0" * 45, b"\xff\xfe", b"x" * 44, base64.b64encode(bytes(32)), base64.b64encode(bytes([1] * 31))],
)
def test_a_damaged_key_is_none_and_is_told_without_what_it_says(tmp_path, no_device, damage, caplog):
    keys, state = make_keys(tmp_path)
    state.remember_wireguard_key(PRIVATE)
    (tmp_path / "state" / "wireguard.key").write_bytes(damage)
    keys, state = make_keys(tmp_path)
    assert keys.recall("flannel-wg") is None
    (record,) = caplog.records
    assert "wireguard.key: it is damaged" in record.getMessage()
    assert "this host gets a new WireGuard key" in record.getMessage()
    keys.remember(PRIVATE)
    assert keys.recall("flannel-wg") == PRIVATE


def test_upstreams_key_is_taken_over_at_the_first_start_only(tmp_path, no_device):
    theirs = tmp_path / "wgkey"
    theirs.write_text(format_key(PRIVATE.reveal()))  # upstream writes no line end
    keys, _state = make_keys(tmp_path, WIREGUARD_KEY_FILE=str(theirs))
    assert keys.recall("flannel-wg") == PRIVATE
    keys.remember(PSK)
    assert keys.recall("flannel-wg") == PSK
    assert Instance().upstream_key_file == "/run/flannel/wgkey"


def test_a_damaged_key_of_upstream_is_told(tmp_path, no_device, caplog):
    theirs = tmp_path / "wgkey"
    theirs.write_text("nonsense")
    assert make_keys(tmp_path, WIREGUARD_KEY_FILE=str(theirs))[0].recall("flannel-wg") is None
    assert f"{theirs}: it holds no WireGuard key" in caplog.text
    assert "nonsense" not in caplog.text


def test_the_psk_comes_from_the_file_that_is_named(tmp_path):
    path = tmp_path / "psk"
    path.write_text(format_key(PSK.reveal()) + "\n")
    path.chmod(0o600)
    keys, _state = make_keys(tmp_path, f"--wireguard-psk-file={path}")
    assert keys.read_psk() == PSK


def test_the_psk_comes_from_the_credential_if_there_is_one(tmp_path):
    keys, _state = make_keys(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert keys.read_psk() is None
    path = tmp_path / "wireguard-psk"
    path.write_text(format_key(PSK.reveal()))
    path.chmod(0o400)
    assert keys.read_psk() == PSK
    assert Instance("blue").wireguard_psk_file == "/etc/flanneld/blue.wireguard-psk"


@pytest.mark.parametrize(
    ("text", "mode", "cause"),
    [
        ("secret words", 0o600, "could not parse psk"),
        ("", 0o600, "it is empty"),
        (format_key(PSK.reveal()), 0o640, "others on this host may use it"),
        (None, 0, "no such file"),
    ],
)
def test_a_psk_that_cannot_be_used_is_refused_by_name(tmp_path, text, mode, cause):
    path = tmp_path / "psk"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    keys, _state = make_keys(tmp_path, f"--wireguard-psk-file={path}")
    with pytest.raises(BackendError, match=cause) as error:
        keys.read_psk()
    assert str(path) in str(error.value)
    assert not text or text not in str(error.value)


# --- the arithmetic


@pytest.mark.parametrize(
    ("private", "public"),
    [
        (
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        ),
        (
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        ),
    ],
)
def test_the_public_key_of_rfc_7748(private, public):
    assert base64.b64decode(derive_public_key(Secret(bytes.fromhex(private)))).hex() == public


def test_a_secret_is_equal_only_to_itself_and_goes_nowhere():
    assert Secret(bytes(range(32))) == PRIVATE
    assert PRIVATE not in (PSK, bytes(range(32)), None)
    assert (bool(NO_PSK), bool(PSK)) == (False, True)
    assert str(PRIVATE) == f"{PRIVATE!r}" == "Secret(***)"
    with pytest.raises(TypeError):
        pickle.dumps(PRIVATE)


def test_the_psk_of_ipsec_is_looked_for_in_the_same_places(tmp_path):
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    find = keys_module.find_ipsec_psk_file
    assert find(options(), Instance("blue"), credentials) == ""
    (tmp_path / "ipsec-psk").touch()
    assert find(options(), Instance("blue"), credentials) == str(tmp_path / "ipsec-psk")
    assert find(options("--ipsec-psk-file=/named"), Instance("blue"), credentials) == "/named"
    assert Instance("blue").ipsec_psk_file == "/etc/flanneld/blue.ipsec-psk"
