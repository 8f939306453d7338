# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each known cause of trouble is found, named, and has a next step; a host that is well has none."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Dict, Iterable, List

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._agent import AgentAbsent
from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError, StoreAuthError
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes
from ansible_collections.weft.flannel.plugins.module_utils._network import BadLease
from ansible_collections.weft.flannel.plugins.module_utils._node import NodeEntry
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4
from flanneld.commands import check
from flanneld.commands.checks import FAIL, WARN
from flanneld.commands.facts import Facts, StoreFacts
from flanneld.commands.probes import Probe
from flanneld.commands.settings import Settings
from flanneld.instance import Instance
from flanneld.options import parse_options
from flanneld.outputs.report import PeerReport, TableReport
from flanneld.tables.address import LinkAddress
from flanneld.tables.device import OtherLink
from flanneld.tables.fdb import FdbEntry
from flanneld.tables.ipip_link import IpipLink
from flanneld.tables.route import Route
from flanneld.tables.tun_link import TunLink
from flanneld.tables.vxlan_link import VxlanLink
from flanneld.tables.wireguard_link import WireguardLink

from tests.agent.unit.test_command_status import WELL as REPORT
from tests.support.leases import config, lease

OWN_MAC, PEER_MAC = "02:00:00:00:05:01", "02:00:00:00:05:03"
OWN = lease("10.5.72.0-24", "192.0.2.1", OWN_MAC)
PEER = lease("10.5.3.0-24", "192.0.2.3", PEER_MAC)
CONFIG = json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}})
IPTABLES = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"
FIREWALLD = """\
table inet firewalld {
\tchain filter_INPUT {
\t\ttype filter hook input priority filter + 10; policy accept;
\t\tct state { established, related } accept
\t\tiifname "lo" accept
\t\tct state invalid drop
\t\tjump filter_INPUT_ZONES
\t\treject with icmpx admin-prohibited
\t}

\tchain filter_INPUT_ZONES {
\t\tgoto filter_IN_public
\t}

\tchain filter_IN_public_allow {
\t\ttcp dport 22 accept
\t}
}
"""
DEVICE = VxlanLink("flannel.1", 1, OWN_MAC, 1450, "eth0", ip_address("192.0.2.1"), 8472)
STORE = StoreFacts(
    config=CONFIG,
    elsewhere=(),
    leases=(OWN, PEER),
    bad_leases=(),
    lifetimes={OWN.key: 80000, PEER.key: 100},
    nodes=(
        NodeEntry("a" * 32, "b1", "h1", ip_address("192.0.2.1"), None, OWN.key),
        NodeEntry("b" * 32, "b3", "h3", ip_address("192.0.2.3"), None, PEER.key),
    ),
)
WELL = Facts(
    settings=Settings(parse_options([], {}), Instance(), "/etc/flanneld/flanneld.env"),
    unit={"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled"},
    report=REPORT,
    report_error=None,
    store=STORE,
    store_error=None,
    config=config(),
    config_error=None,
    remembered=None,
    subnet_env={
        "FLANNEL_NETWORK": "10.5.0.0/16",
        "FLANNEL_SUBNET": "10.5.72.1/24",
        "FLANNEL_MTU": "1450",
        "FLANNEL_IPMASQ": "true",
    },
    links={
        "eth0": OtherLink("eth0", "", "02:00:00:00:00:01", 1500, True),
        "docker0": OtherLink("docker0", "bridge", "02:42:00:00:00:01", 1450, True),
        "flannel.1": DEVICE,
    },
    bare_bridges=frozenset(),
    addresses=(
        LinkAddress("eth0", ip_interface("192.0.2.1/24")),
        LinkAddress("docker0", ip_interface("10.5.72.1/24")),
        LinkAddress("flannel.1", ip_interface("10.5.72.0/32")),
    ),
    routes=(Route(ip_network("10.5.3.0/24"), ip_address("10.5.3.0"), "flannel.1", True),),
    fdb=(FdbEntry("flannel.1", PEER_MAC, ip_address("192.0.2.3")),),
    devices={IPV4: "flannel.1"},
    sysctls={"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"},
    capabilities=1 << 12,
    udp_ports=frozenset({8472}),
    iptables=IPTABLES,
    nftables="",
    forward_drops=(),
    tx_checksum={"flannel.1": True},
    public_keys={},
    probes=(Probe(PEER.key, ip_address("192.0.2.3"), 1500, True, True),),
    pings=True,
)


def in_store(**changes: Any) -> Facts:
    return replace(WELL, store=replace(STORE, **changes))


def with_flags(*flags: str) -> Facts:
    return replace(WELL, settings=Settings(parse_options(flags, {}), Instance(), ""))


def with_link(link: Any) -> Facts:
    return replace(WELL, links={**WELL.links, link.name: link})


def reported(**changes: Any) -> Facts:
    return replace(WELL, report=replace(REPORT, **changes))


def over_ipip(**changes: Any) -> Facts:
    """The same host with the backend ipip."""
    cfg = config(backend="ipip")
    attributes = Attributes(ip_address("192.0.2.1"), None, "ipip")
    peer = replace(PEER, attributes=replace(attributes, public_ip=ip_address("192.0.2.3")))
    return replace(
        WELL,
        store=replace(STORE, leases=(replace(OWN, attributes=attributes), peer)),
        config=cfg,
        links={**WELL.links, "flannel.ipip": IpipLink("flannel.ipip", 1480, ip_address("192.0.2.1"))},
        fdb=(),
        devices={IPV4: "flannel.ipip"},
        udp_ports=frozenset(),
        tx_checksum={},
        **changes,
    )


def told(facts: Facts) -> List[str]:
    """Every line of the whole check that is not "ok"."""
    lines: Iterable[str] = (
        line for one in check.CHECKS for line in check.format_check(one, check.find(one, facts))
    )
    return [line for line in lines if not line.startswith("ok ")]


UDP_WELL = replace(
    WELL,
    config=config(backend="udp"),
    links={**WELL.links, "flannel0": TunLink("flannel0", 1472, attached=True)},
    devices={IPV4: "flannel0"},
    fdb=(),
    udp_ports=frozenset({8285}),
    iptables="",
)
UDP_UNATTACHED = replace(
    UDP_WELL, links={**UDP_WELL.links, "flannel0": TunLink("flannel0", 1472, attached=False)}
)


KEY, OTHER_KEY = (base64.b64encode(bytes([number] * 32)).decode() for number in (1, 2))


def over_wireguard(public_key: str, ipv6: bool = False) -> Facts:
    """The same host with wireguard and one device, which has that key; its lease tells KEY. ipv6: it is on, too."""
    document = {"Network": "10.5.0.0/16", "Backend": {"Type": "wireguard", "Mode": "auto"}}
    cfg = parse_config(
        json.dumps({**document, **({"EnableIPv6": True, "IPv6Network": "fd05::/48"} if ipv6 else {})})
    )
    data = json.dumps({"PublicKey": KEY, "Port": 51820})
    attributes = Attributes(ip_address("192.0.2.1"), None, "wireguard", data, data if ipv6 else None)
    return replace(
        WELL,
        store=replace(STORE, leases=(replace(OWN, attributes=attributes),)),
        config=cfg,
        links={**WELL.links, "flannel-wg": WireguardLink("flannel-wg", 1450)},
        fdb=(),
        devices=dict.fromkeys(cfg.families, "flannel-wg"),
        udp_ports=frozenset({51820}),
        tx_checksum={},
        public_keys={"flannel-wg": public_key},
        sysctls={**WELL.sysctls, "net/ipv6/conf/all/forwarding": "1"},
    )


def test_a_host_with_wireguard_that_is_well_has_nothing_to_tell() -> None:
    assert told(over_wireguard(KEY)) == []
    assert told(over_wireguard(KEY, ipv6=True)) == []
    unreadable = replace(over_wireguard(KEY), public_keys={})
    assert told(unreadable) == []


def test_one_device_for_both_families_is_told_of_once() -> None:
    lines = told(over_wireguard(OTHER_KEY, ipv6=True))
    assert len([line for line in lines if line.startswith("FAIL")]) == 1


def test_a_host_that_is_well_has_nothing_to_tell() -> None:
    assert told(WELL) == []


def test_a_host_with_udp_that_is_well_has_nothing_to_tell_of_it() -> None:
    assert not [line for line in told(UDP_WELL) if "flannel0" in line or "8285" in line]


CASES = {
    # appendix E, in its order
    "config missing": (
        in_store(config=None),
        FAIL,
        "/coreos.com/network/config does not exist",
        "v2 API",
    ),
    "config under another prefix": (
        in_store(config=None, elsewhere=("/atomic.io/network",)),
        FAIL,
        "but /atomic.io/network has a config",
        "--etcd-prefix=/atomic.io/network",
    ),
    "config invalid": (
        replace(WELL, config=None, config_error=ConfigError("network config", "no Network", "add it")),
        FAIL,
        "/coreos.com/network/config: no Network",
        "add it",
    ),
    "no backend named": (
        replace(WELL, config=replace(config(), backend_was_absent=True)),
        WARN,
        "means udp",
        "Backend.Type",
    ),
    "etcd refuses us": (
        replace(WELL, store=None, store_error=StoreAuthError("etcd", "permission denied", "grant the role")),
        FAIL,
        "permission denied",
        "grant the role",
    ),
    "two live hosts, one public IP": (
        in_store(nodes=(*STORE.nodes, NodeEntry("c" * 32, "b9", "h9", ip_address("192.0.2.1")))),
        FAIL,
        f"192.0.2.1 is published by live hosts h1 (id {'a' * 32}) and h9 (id {'c' * 32})",
        "--public-ip",
    ),
    "two leases, one public IP": (
        in_store(leases=(OWN, PEER, lease("10.5.9.0-24", "192.0.2.3"))),
        WARN,
        "192.0.2.3 is in leases 10.5.3.0-24 (h3) and 10.5.9.0-24",
        "--public-ip",
    ),
    "leases overlap": (
        in_store(leases=(OWN, PEER, lease("10.5.0.0-22", "192.0.2.9"))),
        FAIL,
        "leases 10.5.0.0-22 and 10.5.3.0-24 (h3) overlap (10.5.0.0/22, 10.5.3.0/24)",
        "older lease counts",
    ),
    "the same subnet twice": (
        in_store(leases=(OWN, PEER, replace(lease("10.5.3.0-24", "192.0.2.9"), mod_revision=99))),
        FAIL,
        "leases 10.5.3.0-24 (h3) and 10.5.3.0-24 (h3) overlap",
        "older lease counts",
    ),
    "a key that is no lease": (
        in_store(bad_leases=(BadLease("/coreos.com/network/subnets/x", "is not a subnet"),)),
        WARN,
        "subnets/x is no lease",
        "delete the key",
    ),
    "no capability": (replace(WELL, capabilities=0), FAIL, "CAP_NET_ADMIN", "as root"),
    "no br_netfilter": (
        replace(WELL, sysctls={**WELL.sysctls, "net/bridge/bridge-nf-call-iptables": None}),
        WARN,
        "br_netfilter",
        "modprobe br_netfilter",
    ),
    "another MAC than the lease": (
        with_link(replace(DEVICE, mac="02:00:00:00:99:99")),
        FAIL,
        f"flannel.1 has MAC 02:00:00:00:99:99, and our lease tells the others {OWN_MAC}",
        "MACAddressPolicy=none",
    ),
    "pool exhausted": (
        replace(
            WELL,
            config=config("10.5.0.0/16", SubnetMin="10.5.72.0", SubnetMax="10.5.73.0"),
            store=replace(STORE, leases=(OWN, lease("10.5.73.0-24", "192.0.2.5"))),
        ),
        FAIL,
        "0 of 2 subnets of 10.5.0.0/16 are free; 0 reservations, 1 leases without a live host",
        "widen the pool",
    ),
    "ip_forward off": (
        replace(WELL, sysctls={**WELL.sysctls, "net/ipv4/ip_forward": "0"}),
        FAIL,
        "net.ipv4.ip_forward is 0",
        "sysctl -w net.ipv4.ip_forward=1",
    ),
    "FORWARD drops": (
        replace(WELL, forward_drops=(("FORWARD (ipv4): policy DROP", "iptables -P FORWARD ACCEPT"),)),
        FAIL,
        "policy DROP",
        "iptables -P FORWARD ACCEPT",
    ),
    "device MTU above the underlay's room": (
        with_link(replace(DEVICE, mtu=1500)),
        FAIL,
        "flannel.1 has MTU 1500, and eth0 has room for 1450",
        "Backend.MTU",
    ),
    "subnet.env promises more than the device": (
        with_link(replace(DEVICE, mtu=1400)),
        FAIL,
        "says MTU 1450, flannel.1 has 1400",
        "Docker",
    ),
    "bridge MTU": (
        with_link(replace(WELL.links["docker0"], mtu=1500)),
        FAIL,
        "docker0 has MTU 1500, FLANNEL_MTU is 1450",
        "systemctl restart docker",
    ),
    "large packets do not arrive": (
        replace(WELL, probes=(Probe(PEER.key, ip_address("192.0.2.3"), 1500, True, False),)),
        FAIL,
        "192.0.2.3 of 10.5.3.0-24 (h3) answers small packets, but none of 1500 bytes",
        "Backend.MTU",
    ),
    "no ping": (replace(WELL, probes=(), pings=False), WARN, "there is no ping", "install ping"),
    "checksums left to the card": (
        with_flags("--tx-checksum-offload=false"),
        WARN,
        "flannel.1 leaves checksums to the card",
        "ethtool -K flannel.1",
    ),
    "INPUT policy": (
        replace(WELL, iptables=IPTABLES.replace("INPUT ACCEPT", "INPUT DROP")),
        WARN,
        "iptables INPUT drops what it does not know, and no rule names UDP port 8472",
        "--add-port=8472/udp",
    ),
    "INPUT ends in a reject": (
        replace(WELL, iptables=f"{IPTABLES}-A INPUT -i lo -j ACCEPT\n-A INPUT -j REJECT --reject-with x\n"),
        WARN,
        "iptables INPUT",
        "--add-port=8472/udp",
    ),
    "nftables input": (
        replace(
            WELL,
            nftables="table inet filter {\n\tchain in {\n\t\ttype filter hook input priority filter; "
            "policy drop;\n\t\ttcp dport 22 accept\n\t}\n}\n",
        ),
        WARN,
        "nftables chain in",
        "--add-port=8472/udp",
    ),
    "firewalld": (
        replace(WELL, nftables=FIREWALLD),
        WARN,
        "nftables chain filter_INPUT drops what it does not know, and no rule names UDP port 8472",
        "--add-port=8472/udp",
    ),
    "IP in IP is not let in": (
        over_ipip(iptables=IPTABLES.replace("INPUT ACCEPT", "INPUT DROP") + "-A INPUT -p tcp --dport 4\n"),
        WARN,
        "iptables INPUT drops what it does not know, and no rule names IP protocol 4",
        "--add-protocol=4",
    ),
    "a rule for 94, which /etc/protocols calls ipip": (
        over_ipip(iptables=IPTABLES.replace("INPUT ACCEPT", "INPUT DROP") + "-A INPUT -p ipip -j ACCEPT\n"),
        WARN,
        "no rule names IP protocol 4",
        "--add-protocol=4",
    ),
    "large packets do not arrive through ipip": (
        over_ipip(probes=(Probe(PEER.key, ip_address("192.0.2.3"), 1500, True, False),)),
        FAIL,
        "192.0.2.3 of 10.5.3.0-24 (h3) answers small packets, but none of 1500 bytes",
        "lower the MTU of the external interface",
    ),
    "port taken": (
        with_link(replace(DEVICE, up=False)),
        FAIL,
        "UDP port 8472 is in use by another program",
        "ss -lunp sport = :8472",
    ),
    "TUN without a process": (
        UDP_UNATTACHED,
        FAIL,
        "flannel0 leads to no process: nothing is forwarded",
        "flanneld status",
    ),
    "port taken from udp": (
        UDP_UNATTACHED,
        FAIL,
        "UDP port 8285 is in use by another program",
        "ss -lunp sport = :8285",
    ),
    "another WireGuard key": (
        over_wireguard(OTHER_KEY),
        FAIL,
        f"flannel-wg has the key {OTHER_KEY}, and our lease tells the others {KEY}",
        "restart the agent, which publishes the key of the device",
    ),
    "no WireGuard key": (
        over_wireguard(""),
        FAIL,
        f"flannel-wg has no key, and our lease tells the others {KEY}",
        "wg show flannel-wg public-key",
    ),
    "FDB leads elsewhere": (
        replace(WELL, fdb=(FdbEntry("flannel.1", PEER_MAC, ip_address("192.0.2.33")),)),
        FAIL,
        "frames for 10.5.3.0-24 (h3) to 192.0.2.33; its lease says 192.0.2.3",
        "restart the agent",
    ),
    "FDB entry of nobody": (
        replace(WELL, fdb=(*WELL.fdb, FdbEntry("flannel.1", "02:00:00:00:05:77", ip_address("192.0.2.7")))),
        WARN,
        "02:00:00:00:05:77 -> 192.0.2.7, and no lease says so",
        "restart the agent",
    ),
    "renewals have stopped": (
        in_store(lifetimes={OWN.key: 3000}),
        FAIL,
        "our lease 10.5.72.0-24 ends in 50 min",
        "journalctl -u flanneld.service",
    ),
    "renewals are late": (in_store(lifetimes={OWN.key: 40000}), WARN, "more than half", "flanneld status"),
    "our lease is gone": (in_store(leases=(PEER,)), FAIL, "10.5.72.0-24 is not in the store", "restart"),
    "no lease yet": (reported(lease=None), FAIL, "no lease yet", "flanneld status"),
    "our lease says another address": (
        reported(interface=replace(REPORT.interface, public_ip="192.0.2.111")),  # type: ignore[type-var]
        FAIL,
        "our lease publishes 192.0.2.1, and this host is 192.0.2.111",
        "restart the agent",
    ),
    "bridge from an earlier subnet": (
        replace(WELL, addresses=(LinkAddress("docker0", ip_interface("10.5.9.1/24")),)),
        FAIL,
        "docker0 has 10.5.9.1/24, which is not in our subnet 10.5.72.0/24",
        "ip link delete docker0",
    ),
    "no subnet.env": (replace(WELL, subnet_env=None), FAIL, "subnet.env does not exist", "flanneld status"),
    "stale subnet.env": (
        replace(WELL, subnet_env={**(WELL.subnet_env or {}), "FLANNEL_SUBNET": "10.5.8.1/24"}),
        FAIL,
        "FLANNEL_SUBNET is 10.5.8.0/24, our lease is 10.5.72.0/24",
        "restart the agent",
    ),
    # beyond it
    "not enabled": (
        replace(WELL, unit={**WELL.unit, "UnitFileState": "disabled"}),
        FAIL,
        "flanneld.service is disabled",
        "systemctl enable flanneld.service",
    ),
    "not running": (
        replace(WELL, report=None, report_error=AgentAbsent("x", "y", "z")),
        FAIL,
        "the agent is not running",
        "systemctl start flanneld.service",
    ),
    "not ready": (
        reported(ready=False, not_ready=("link flannel.1: no vxlan; modprobe vxlan",)),
        FAIL,
        "link flannel.1: no vxlan",
        "modprobe vxlan",
    ),
    "pending": (
        reported(pending=("docker0 is old: restart Docker",)),
        WARN,
        "docker0 is old",
        "restart Docker",
    ),
    "data path refused": (
        reported(tables=(TableReport("route", 5, 2, 2, 0),)),
        FAIL,
        "the kernel refused 2 of 5 (route)",
        "flanneld status",
    ),
    "drift": (reported(tables=(TableReport("route", 5, 2, 0, 0),)), WARN, "2 of 5 (route)", "again"),
    "lease refused": (
        reported(peers=(PeerReport(PEER.key, "192.0.2.3", "", "refused", "it overlaps", "ok"),)),
        WARN,
        "10.5.3.0-24 (h3) is refused: it overlaps",
        "on that host",
    ),
    "device missing": (
        replace(WELL, links={"eth0": WELL.links["eth0"], "docker0": WELL.links["docker0"]}),
        FAIL,
        "flannel.1 does not exist",
        "flanneld status",
    ),
    "device of another kind": (
        with_link(OtherLink("flannel.1", "dummy", OWN_MAC, 1500, True)),
        FAIL,
        "flannel.1 is a dummy",
        "ip link delete flannel.1",
    ),
    "own subnet led away": (
        replace(WELL, routes=(Route(OWN.subnets.v4, ip_address("192.0.2.9"), "eth0", protocol=3),)),
        FAIL,
        "10.5.72.0/24 via 192.0.2.9",
        "ip route del 10.5.72.0/24 via 192.0.2.9",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_cause_is_found_and_has_a_next_step(name: str) -> None:
    facts, level, cause, step = CASES[name]
    lines = told(facts)
    found = [number for number, line in enumerate(lines) if line.startswith(f"{level} ") and cause in line]
    assert found, lines
    assert any(step in lines[number + 1] for number in found), lines


@pytest.mark.parametrize(
    "rule", ["-A INPUT -p udp -m udp --dport 8472 -j ACCEPT", "-A INPUT -p udp --dports 22,8472 -j ACCEPT"]
)
def test_a_port_that_a_rule_names_is_open(rule: str) -> None:
    iptables = IPTABLES.replace("INPUT ACCEPT", "INPUT DROP") + f"{rule}\n"
    assert told(replace(WELL, iptables=iptables)) == []


def test_a_port_that_firewalld_lets_in_is_open() -> None:
    opened = FIREWALLD.replace("tcp dport 22 accept", "tcp dport 22 accept\n\t\tudp dport 8472 accept")
    assert told(replace(WELL, nftables=opened)) == []


def test_what_stands_in_etcd_cannot_write_lines_of_its_own() -> None:
    host = NodeEntry("b" * 32, "b3", "h3\n\x1b[2Jok    all\ud800", ip_address("192.0.2.3"), None, PEER.key)
    bad = BadLease("/coreos.com/network/subnets/x\x1b]0;title\x07", "is not a subnet")
    facts = in_store(
        nodes=(STORE.nodes[0], host), bad_leases=(bad,), leases=(OWN, PEER, lease("10.5.9.0-24", "192.0.2.3"))
    )
    lines = told(facts)
    assert all(line.isprintable() for line in lines)
    assert any("h3\\n\\x1b[2Jok    all\\ud800" in line for line in lines)


@pytest.mark.parametrize(
    "rules",
    [
        {"iptables": IPTABLES.replace("INPUT ACCEPT", "INPUT DROP") + "-A INPUT -p ipencap -j ACCEPT\n"},
        {"iptables": IPTABLES.replace("INPUT ACCEPT", "INPUT DROP") + "-A INPUT -p 4 -j ACCEPT\n"},
        {
            "nftables": "table inet filter {\n\tchain in {\n\t\ttype filter hook input priority filter; policy drop;"
            "\n\t\tip protocol ipencap accept\n\t}\n}\n"
        },
        {},
    ],
    ids=["by name", "by number", "nftables", "all is let in"],
)
def test_ip_in_ip_that_is_let_in(rules: Dict[str, str]) -> None:
    assert told(over_ipip(**rules)) == []


def test_a_reservation_never_ends() -> None:
    reserved = replace(OWN, lease_id=0)
    assert told(in_store(leases=(reserved, PEER), lifetimes={})) == []


def test_without_etcd_and_agent_it_says_what_cannot_be_told() -> None:
    lines = told(replace(WELL, store=None, report=None))
    assert "-     network config: cannot be told without etcd" in lines
    assert "-     devices, routes and rules are right: cannot be told without the agent" in lines
    assert not any(line.startswith("FAIL") for line in lines if "agent runs" not in line)


def test_a_host_that_answers_no_ping_at_all_says_nothing_about_its_path() -> None:
    assert told(replace(WELL, probes=(Probe(PEER.key, ip_address("192.0.2.3"), 1500, False, False),))) == []


def test_the_mtu_of_a_bridge_without_containers_says_nothing() -> None:
    links = with_link(replace(WELL.links["docker0"], mtu=1500)).links
    assert told(replace(WELL, links=links, bare_bridges=frozenset({"docker0"}))) == []


def test_other_addresses_of_a_host_are_nobody_s_business() -> None:
    more = (
        LinkAddress("br0", ip_interface("192.0.2.200/24")),
        LinkAddress("gone", ip_interface("10.5.1.1/24")),
    )
    assert told(replace(WELL, addresses=(*WELL.addresses, *more))) == []
