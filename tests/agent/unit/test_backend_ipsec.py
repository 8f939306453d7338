# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ipsec wants for a lease, what it refuses, and what it tells charon (spec 5.6, 10-A A19)."""

from __future__ import annotations

import contextlib
import errno
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._interface import Interface, InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, format_value
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6
from flanneld.backends import BackendError, Host, Node, find_backend, ipsec
from flanneld.instance import Instance
from flanneld.tables import Change, KernelError
from flanneld.tables import connection as connection_module
from flanneld.tables.charon import Charon
from flanneld.tables.connection import Connection, ConnectionTable, FoundConnection, _fits, _judge_tunnels
from flanneld.tables.policy import OtherPolicy, Policy, PolicyTable
from flanneld.tables.scope import Scope
from flanneld.tables.shared_key import SharedKey
from flanneld.tables.underlay import Underlay
from flanneld.tables.xfrm import Tunnel

from tests.support.leases import lease

PSK = "0123456789abcdef" * 6
PROPOSAL = "aes128gcm16-sha256-prfsha256-ecp256"
ETH0 = Interface(2, "eth0", 1500, ())
CHOICE = InterfaceChoice(ETH0, ip_address("192.0.2.1"), None, ip_address("192.0.2.1"), None, "asked for")
UNDERLAY = Underlay(
    "eth0", 2, 1500, True, (ip_interface("192.0.2.1/24"),), ((ip_network("192.0.2.0/24"), "eth0"),)
)
OURS, THEIRS = ip_network("10.5.34.0/24"), ip_network("10.5.72.0/24")
HERE, THERE = ip_address("192.0.2.1"), ip_address("192.0.2.2")


def make_config(more="", psk=PSK):
    return parse_config(f'{{"Network":"10.5.0.0/16","Backend":{{"Type":"ipsec","PSK":"{psk}"{more}}}}}')


def make_lease(subnet, public, backend="ipsec"):
    return replace(
        lease(subnet, public), attributes=Attributes(public_ip=ip_address(public), backend_type=backend)
    )


def make_node(config=None, choice=CHOICE):
    return Node(
        Instance(), config or make_config(), choice, make_lease("10.5.34.0-24", "192.0.2.1"), ipsec.Local(PSK)
    )


def make_host(choice=CHOICE, psk_file=""):
    return Host(
        Instance(),
        choice,
        lambda name: None,
        lambda name: None,
        lambda name, mac: None,
        lambda name: None,
        ipsec_psk_file=psk_file,
    )


PEER = make_lease("10.5.72.0-24", "192.0.2.2")


@pytest.fixture(autouse=True)
def able(monkeypatch):
    """A host that can: a kernel with ESP, and charon."""
    monkeypatch.setattr(ipsec, "has_esp", lambda: True)
    monkeypatch.setattr(ipsec, "find_program", lambda: "/usr/sbin/charon-systemd")


def test_it_is_found_by_name():
    assert find_backend(make_config()) is ipsec


def test_a_peer():
    assert list(ipsec.desired_for(make_node(), PEER, UNDERLAY)) == [
        Policy("out", OURS, THEIRS, Tunnel(HERE, THERE, 11)),
        Policy("in", THEIRS, OURS, Tunnel(THERE, HERE, 11)),
        Policy("fwd", THEIRS, OURS, Tunnel(THERE, HERE, 11)),
        SharedKey(THERE, PSK),
        Connection(HERE, OURS, THEIRS, THERE, PROPOSAL),
    ]


def test_the_node_has_its_own_key():
    assert list(ipsec.desired(make_node(), UNDERLAY)) == [SharedKey(HERE, PSK)]


def test_behind_nat_it_sends_from_the_interface_and_says_who_it_is():
    public = ip_address("198.51.100.1")
    things = list(ipsec.desired_for(make_node(choice=replace(CHOICE, public_ip=public)), PEER, UNDERLAY))
    assert things[0] == Policy("out", OURS, THEIRS, Tunnel(HERE, THERE, 11))
    assert things[-1] == Connection(HERE, OURS, THEIRS, THERE, PROPOSAL, identity=public)
    ((_name, message),) = things[-1].make_message().items()
    assert message["local"] == {"auth": "psk", "id": "198.51.100.1"}


def test_the_connection_is_upstreams_to_the_word():
    config = make_config(',"UDPEncap":true,"ESPProposal":"aes256gcm16-ecp384"')
    *_others, connection = ipsec.desired_for(make_node(config), PEER, UNDERLAY)
    assert connection.make_message() == {
        "192.0.2.1-10.5.34.0/24-10.5.72.0/24-192.0.2.2": {
            "version": "2",
            "local_addrs": ["192.0.2.1"],
            "remote_addrs": ["192.0.2.2"],
            "proposals": ["aes256-sha256-modp4096"],
            "encap": "true",
            "keyingtries": "0",
            "local": {"auth": "psk"},
            "remote": {"auth": "psk"},
            "children": {
                "10.5.34.0/24-10.5.72.0/24": {
                    "local_ts": ["10.5.34.0/24"],
                    "remote_ts": ["10.5.72.0/24"],
                    "esp_proposals": ["aes256gcm16-ecp384"],
                    "start_action": "start",
                    "close_action": "trap",
                    "dpd_action": "restart",
                    "mode": "tunnel",
                    "reqid": "11",
                    "rekey_time": "1h",
                    "policies": "no",
                }
            },
        }
    }


def test_the_lease_value_to_the_byte():
    attributes = ipsec.attributes(ipsec.Local(PSK), CHOICE, make_config())
    assert format_value(attributes) == '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"ipsec"}'


@pytest.mark.parametrize(("more", "mtu"), [("", 1423), (',"UDPEncap":true', 1415)])
def test_the_mtu(more, mtu):
    assert ipsec.mtu(make_config(more), 1500) == mtu
    assert ipsec.overhead(make_config(more), IPV4) == 1500 - mtu


def test_a_lease_of_another_backend_is_refused_by_name():
    assert ipsec.refuse(PEER, IPV4) is None
    for kind, word in (("vxlan", "vxlan"), ("", "missing")):
        refusal = ipsec.refuse(make_lease("10.5.72.0-24", "192.0.2.2", kind), IPV4)
        assert refusal == f"BackendType is {word}, this host runs ipsec"
    assert ipsec.refuse(PEER, IPV6) == "ipsec carries IPv4 only"


@pytest.mark.parametrize(
    "families",
    ['"Network":"10.5.0.0/16","EnableIPv6":true', '"EnableIPv4":false,"EnableIPv6":true'],
)
def test_ipv6_is_refused(families):
    config = parse_config(
        f'{{{families},"IPv6Network":"fd05::/48","Backend":{{"Type":"ipsec","PSK":"{PSK}"}}}}'
    )
    with pytest.raises(ConfigError, match="ipsec carries IPv4 only, and EnableIPv6 is true"):
        find_backend(config)


def test_a_kernel_or_a_host_that_cannot_is_named_with_the_reason(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ipsec, "has_esp", lambda: False)
        with pytest.raises(BackendError, match=r"kernel has no esp.*modprobe"):
            ipsec.prepare(make_host(), make_config())

    def raise_no_xfrm():
        raise KernelError("IPsec", "no", "nothing", errno.EPROTONOSUPPORT)

    with monkeypatch.context() as patch:
        patch.setattr(ipsec, "has_esp", raise_no_xfrm)
        with pytest.raises(BackendError, match="kernel has no xfrm"):
            ipsec.prepare(make_host(), make_config())
    monkeypatch.setattr(ipsec, "find_program", lambda: None)
    with pytest.raises(BackendError, match=r"charon is not installed.*charon-systemd"):
        ipsec.prepare(make_host(), make_config())


def test_the_key_of_a_file_counts_before_that_of_the_config(tmp_path):
    file = tmp_path / "psk"
    file.write_text(PSK.upper() + "\n")
    file.chmod(0o600)
    assert ipsec.prepare(make_host(psk_file=str(file)), make_config()) == ipsec.Local(PSK.upper())
    assert ipsec.prepare(make_host(), make_config()) == ipsec.Local(PSK)


@pytest.mark.parametrize(
    ("text", "mode", "fault"),
    [
        ("secret-but-short", 0o600, "password is too short"),
        (PSK, 0o644, "others on this host may use it"),
        ("", 0o600, "it is empty"),
        (None, 0, "no such file"),
    ],
)
def test_a_bad_file_is_refused_and_not_shown(tmp_path, text, mode, fault):
    file = tmp_path / "psk"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    with pytest.raises(ConfigError, match=fault) as caught:
        ipsec.prepare(make_host(psk_file=str(file)), make_config(psk=""))
    assert not text or text not in str(caught.value)


def test_without_any_key_it_does_not_start():
    with pytest.raises(ConfigError, match="config error, password is too short: there is none"):
        ipsec.prepare(make_host(), make_config(psk=""))


def test_no_key_is_in_any_text(caplog):
    caplog.set_level(0)
    local = ipsec.prepare(make_host(), make_config())
    node = replace(make_node(), local=local)
    things = [*ipsec.desired(node, UNDERLAY), *ipsec.desired_for(node, PEER, UNDERLAY)]
    change = Change(things[0].key, None, things[0])
    texts = [repr(node), repr(things), *map(str, things), repr(change), caplog.text]
    failed = ipsec.tables(Instance(), SCOPE)[1].apply([change])  # nobody listens there
    texts += [str(error) for error in failed.values()]
    assert "charon is not running" in texts[-1]
    assert not [text for text in texts if PSK in text]


SCOPE = Scope(frozenset(), "eth0", (make_config().ipv4,))


def test_which_policies_are_ours():
    table = PolicyTable(SCOPE)
    ours = Policy("out", OURS, THEIRS, Tunnel(HERE, THERE, 11))
    assert table.owns(ours)
    assert table.owns(
        replace(ours, tunnel=Tunnel(ip_address("192.0.2.77"), THERE, 11))
    )  # our address has changed
    assert not table.owns(replace(ours, tunnel=Tunnel(HERE, THERE, 12)))
    assert not table.owns(replace(ours, source=ip_network("10.9.1.0/24")))
    assert not table.owns(replace(ours, destination=ip_network("0.0.0.0/0")))
    assert not table.owns(OtherPolicy("out", OURS, THEIRS))


def test_which_connections_are_ours():
    table = ConnectionTable(Charon("/run/none", "unit"))
    assert table.owns(FoundConnection("192.0.2.1-10.5.34.0/24-10.5.72.0/24-192.0.2.2", True))
    assert not table.owns(FoundConnection("home", True))


SHOWN = {
    "local_addrs": [b"192.0.2.1"],
    "remote_addrs": [b"192.0.2.2"],
    "version": b"IKEv2",
    "children": {
        "10.5.34.0/24-10.5.72.0/24": {
            "mode": b"TUNNEL",
            "local-ts": [b"10.5.34.0/24"],
            "remote-ts": [b"10.5.72.0/24"],
        }
    },
}


def test_what_charon_shows_is_compared():
    connection = Connection(HERE, OURS, THEIRS, THERE, PROPOSAL)
    assert _fits(connection, SHOWN)
    assert not _fits(replace(connection, remote=HERE), SHOWN)
    assert not _fits(connection, {**SHOWN, "children": {}})
    assert not _fits(connection, {})


def test_a_connection_is_alive_with_a_tunnel_that_the_kernel_has_or_an_attempt():
    installed = {"uniqueid": b"7", "state": b"INSTALLED", "spi-in": b"c0000001", "spi-out": b"c0000002"}
    sas = [
        {"up": {"state": b"ESTABLISHED", "child-sas": {"a-1": installed}}},
        {"coming": {"state": b"CONNECTING", "child-sas": {}}},
        {"bare": {"state": b"ESTABLISHED", "child-sas": {}}},
        {"renewing": {"state": b"ESTABLISHED", "child-sas": {"a-1": {**installed, "state": b"REKEYING"}}}},
        {"torn": {"state": b"ESTABLISHED", "child-sas": {"a-1": {**installed, "spi-in": b"c0000003"}}}},
        {"twice": {"state": b"ESTABLISHED", "child-sas": {"a-1": {**installed, "spi-out": b"c0000003"}}}},
        {"twice": {"state": b"ESTABLISHED", "child-sas": {"a-2": installed}}},
    ]
    alive, torn = _judge_tunnels(sas, frozenset({"c0000001", "c0000002"}))
    assert alive == {"up", "coming", "renewing", "twice"}
    assert torn == {"torn": ("7",), "twice": ("7",)}


class FakeSession:
    """What charon would answer, and what it was asked for."""

    def __init__(self, name):
        self.name = name
        self.asked = []
        self.tunnels = {}

    def list_conns(self):
        return [{self.name: SHOWN}]

    def list_sas(self):
        return [{self.name: {"state": b"ESTABLISHED", "child-sas": self.tunnels}}]

    def load_conn(self, message):
        self.asked.append("load")

    def terminate(self, message):
        self.asked.append(f"terminate {message['child-id']}")
        return []

    def initiate(self, message):
        self.asked.append("initiate")
        return []


class FakeCharon(Charon):
    session = None

    @contextlib.contextmanager
    def ask(self, subject):
        yield self.session


def test_an_attempt_at_a_tunnel_is_left_alone_for_a_while(monkeypatch):
    """Else a busy host would end what it has just begun, and never have a tunnel."""
    monkeypatch.setattr(connection_module, "dump_spis", frozenset)
    wanted = Connection(HERE, OURS, THEIRS, THERE, PROPOSAL)
    charon, now = FakeCharon("/run/none", "unit"), [100.0]
    charon.session = session = FakeSession(wanted.key)
    session.tunnels = {"a-1": {"uniqueid": b"7", "state": b"INSTALLED", "spi-in": b"c1", "spi-out": b"c2"}}
    table = ConnectionTable(charon, lambda: now[0])

    def repair():
        found = table.dump()[wanted.key]
        session.asked.clear()
        if found != wanted:
            assert table.apply([Change(wanted.key, found, wanted)]) == {}
        return list(session.asked)

    assert repair() == ["load", "terminate 7", "initiate"]
    now[0] += 29
    assert repair() == []
    now[0] += 1
    assert repair() == ["load", "terminate 7", "initiate"]
    session.tunnels = {}
    now[0] += 30
    assert repair() == ["load", "initiate"]
