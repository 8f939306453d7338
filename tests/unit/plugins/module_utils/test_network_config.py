# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network config (spec 1, 9.3 row subnet)."""

from __future__ import annotations

import contextlib
import json
from ipaddress import IPv4Network, ip_network
from typing import Any, Dict, Optional

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._config import (
    BACKENDS,
    NetworkConfig,
    canonical,
    load_document,
    parse_config,
    unknown_keys,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, AddressPool
from hypothesis import given
from hypothesis import strategies as st


def parse(**document: Any) -> NetworkConfig:
    return parse_config(json.dumps(document))


def refuse(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        parse_config(text)
    assert refused.value.subject == "network config"
    assert refused.value.next_step
    return refused.value


def ipv4_pool(**document: Any) -> AddressPool:
    pool = parse(**document).ipv4
    assert pool is not None
    return pool


def ipv6_pool(**document: Any) -> AddressPool:
    pool = parse(EnableIPv4=False, EnableIPv6=True, **document).ipv6
    assert pool is not None
    return pool


def show(pool: AddressPool) -> tuple[str, int, str, str]:
    return str(pool.network), pool.subnet_len, str(pool.subnet_min), str(pool.subnet_max)


# --- 1.1: JSON as Go reads it ---


@pytest.mark.parametrize(
    "text",
    [
        '{"Network":"10.5.0.0/16"}',
        '{"network":"10.5.0.0/16"}',
        '{"NETWORK":"10.5.3.7/16"}',
        ' {\n"Network" : "10.5.0.0/16"\t}\r\n',
        '{"Network":"10.9.0.0/16","network":"10.5.0.0/16"}',
        '{"network":"10.9.0.0/16","Network":"10.8.0.0/16","NetworK":"10.5.0.0/16"}',
        '{"Network":"10.5.0.0/16","Nonsense":{"Network":[1,2,{"x":null}]},"network ":5}',
        '{"Network":"10.5.0.0/16","SubnetLen":null,"EnableIPv4":null,"EnableNFTables":null}',
        '{"Network":"10.5.0.0/16","SubnetLen":0,"SubnetMin":"0.0.0.0","SubnetMax":"0.0.0.0"}',
        '{"Network":"10.5.0.0/16","SubnetLen":24,"subnetlen":null}',
        '{"Network":"10.5.0.0/16","IPv6SubnetMin":null,"IPv6SubnetMax":null}',
        '{"Network":"10.5.0.0/16","IPv6Network":"10.0.0.0/8","IPv6SubnetMin":"1.2.3.4","IPv6SubnetLen":5000}',
        '{"Network":"\\u00310.5.0.0/16"}',
        '{"Network":"10.5.0.0/16","x":"\\ud800"}',
    ],
)
def test_lenient_reading(text: str) -> None:
    config = parse_config(text)
    assert config.ipv4 is not None
    assert show(config.ipv4) == ("10.5.0.0/16", 24, "10.5.1.0", "10.5.255.0")
    assert config.ipv6 is None
    assert not config.enable_nftables
    assert parse_config(text.encode()) == config


@pytest.mark.parametrize("spelling", ["enableIPv6", "ENABLEIPV6", "EnableIPv6", "enableipv6"])
def test_switches_in_any_case(spelling: str) -> None:
    config = parse(**{spelling: True, "IPv6Network": "fc00::/48", "Network": "10.3.0.0/16"})
    assert config.families == (IPV4, IPV6)
    assert config.pool(IPV4) == config.ipv4
    assert config.pool(IPV6) == config.ipv6


def test_families_that_are_off_have_no_pool() -> None:
    config = parse(EnableIPv4=False, EnableIPv6=True, Network="10.3.0.0/16", IPv6Network="fc00::/48")
    assert config.families == (IPV6,)
    assert config.ipv4 is None


@pytest.mark.parametrize(
    ("document", "cause"),
    [
        ('{"Network":"10.5.0.0/16","SubnetLen":"24"}', 'SubnetLen must be a whole number of 0 or more, not "24"'),
        ('{"Network":"10.5.0.0/16","SubnetLen":24.0}', "SubnetLen must be a whole number of 0 or more, not 24.0"),
        ('{"Network":"10.5.0.0/16","SubnetLen":2e1}', "SubnetLen must be a whole number of 0 or more, not 2e1"),
        ('{"Network":"10.5.0.0/16","SubnetLen":-1}', "SubnetLen must be a whole number of 0 or more, not -1"),
        ('{"Network":"10.5.0.0/16","SubnetLen":-0}', "SubnetLen must be a whole number of 0 or more, not -0"),
        ('{"Network":"10.5.0.0/16","SubnetLen":true}', "SubnetLen must be a whole number of 0 or more, not true"),
        ('{"Network":"10.5.0.0/16","SubnetLen":18446744073709551616}', "SubnetLen must be a whole number"),
        ('{"Network":"10.5.0.0/16","SubnetLen":[24]}', "SubnetLen must be a whole number of 0 or more, not an array"),
        ('{"subnetlen":"x","SubnetLen":24,"Network":"10.5.0.0/16"}', "SubnetLen must be a whole number of 0 or more"),
        ('{"Network":"10.5.0.0/16","EnableIPv4":"true"}', 'EnableIPv4 must be true or false, not "true"'),
        ('{"Network":"10.5.0.0/16","EnableIPv6":1}', "EnableIPv6 must be true or false, not 1"),
        ('{"Network":"10.5.0.0/16","enablenftables":0}', "EnableNFTables must be true or false, not 0"),
        ('{"Network":null}', "Network: invalid CIDR address: null"),
        ('{"Network":"10.5.0.0/16","network":null}', "Network: invalid CIDR address: null"),
        ('{"Network":"10.5.0.0"}', 'Network: invalid CIDR address: "10.5.0.0"'),
        ('{"Network":""}', 'Network: invalid CIDR address: ""'),
        ('{"Network":10}', "Network: invalid CIDR address: 10"),
        ('{"Network":["10.5.0.0/16"]}', "Network: invalid CIDR address: an array"),
        ('{"Network":"fc00::/48"}', 'Network: invalid IPv4 CIDR format: "fc00::/48"'),
        ('{"Network":"10.5.0.0/16","IPv6Network":null}', "IPv6Network: invalid CIDR address: null"),
        ('{"Network":"10.5.0.0/16","IPv6Network":"fc00::"}', 'IPv6Network: invalid CIDR address: "fc00::"'),
        ('{"Network":"10.5.0.0/16","SubnetMin":null}', "SubnetMin: invalid IP address format: null"),
        ('{"Network":"10.5.0.0/16","SubnetMin":"10.5.1"}', 'SubnetMin: invalid IP address format: "10.5.1"'),
        ('{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0/24"}', "SubnetMin: invalid IP address format"),
        ('{"Network":"10.5.0.0/16","SubnetMax":"fc00::"}', 'SubnetMax: invalid IPv4 address format: "fc00::"'),
        ('{"Network":"10.5.0.0/16","IPv6SubnetMin":"x"}', 'IPv6SubnetMin: invalid IP address format: "x"'),
        ('{"Network":"10.5.0.0/16","IPv6SubnetMax":4}', "IPv6SubnetMax: invalid IP address format: 4"),
        ('{"Network":"10.5.0.0/16","Backend":"vxlan"}', "Backend: not a JSON object: a string stands where"),
        ('{"Network":"10.5.0.0/16","Backend":{"Type":5}}', "Backend.Type must be a string, not 5"),
        ("", "not a JSON object"),
        ("[]", "not a JSON object: an array stands where an object should be"),
        ('{"Network":"10.5.0.0/16"} ,', "not a JSON object"),
        ("\ufeff{}", "not a JSON object"),
        ('{"x":' + "[" * 100_000, "not a JSON object: is nested too deeply"),
    ],
)  # fmt: skip
def test_wrong_json(document: str, cause: str) -> None:
    assert refuse(document).cause.startswith(cause)


def test_types_come_before_rules_and_the_backend_comes_last() -> None:
    assert "SubnetLen must" in refuse('{"Backend":{"Type":5},"SubnetLen":"x"}').cause
    assert "Backend.Type must" in refuse('{"EnableIPv4":false,"Backend":{"Type":5}}').cause
    assert "none defined stack" in refuse('{"EnableIPv4":false,"Backend":{"Type":"x"}}').cause
    assert "correct Network" in refuse('{"EnableIPv6":true,"Backend":{"Type":"x"}}').cause
    assert (
        "correct IPv6Network"
        in refuse('{"EnableIPv6":true,"Network":"10.5.0.0/16","Backend":{"Type":"x"}}').cause
    )
    assert "unknown backend" in refuse('{"Network":"10.5.0.0/16","Backend":{"Type":"x","VNI":"1"}}').cause
    assert "VNI must" in refuse('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":"1"}}').cause


# --- 1.3 ---


@pytest.mark.parametrize(
    ("network", "subnet_len", "subnet_min", "subnet_max", "slots"),
    [
        ("10.3.0.0/16", 24, "10.3.1.0", "10.3.255.0", 255),
        ("10.0.0.0/8", 24, "10.0.1.0", "10.255.255.0", 65535),
        ("10.0.0.0/22", 24, "10.0.1.0", "10.0.3.0", 3),
        ("10.0.0.0/23", 25, "10.0.0.128", "10.0.1.128", 3),
        ("10.0.0.0/24", 26, "10.0.0.64", "10.0.0.192", 3),
        ("10.0.0.0/28", 30, "10.0.0.4", "10.0.0.12", 3),
        ("255.255.0.0/16", 24, "255.255.1.0", "255.255.255.0", 255),
    ],
)
def test_ipv4_defaults(network: str, subnet_len: int, subnet_min: str, subnet_max: str, slots: int) -> None:
    pool = ipv4_pool(network=network)
    assert show(pool) == (network, subnet_len, subnet_min, subnet_max)
    assert pool.slots == slots


def test_ipv4_overrides() -> None:
    pool = ipv4_pool(Network="10.0.0.0/8", SubnetLen=20, SubnetMin="10.10.0.0", SubnetMax="10.99.0.0")
    assert show(pool) == ("10.0.0.0/8", 20, "10.10.0.0", "10.99.0.0")
    assert pool.slots == 1425
    pool = ipv4_pool(Network="10.3.0.0/16", SubnetLen=28, SubnetMin="10.3.5.0", SubnetMax="10.3.8.0")
    assert show(pool) == ("10.3.0.0/16", 28, "10.3.5.0", "10.3.8.0")


def test_what_ipv4_rules_do_not_check() -> None:
    assert ipv4_pool(Network="10.3.0.0/16", SubnetMin="10.3.9.0", SubnetMax="10.3.2.0").slots == 0
    assert str(ipv4_pool(Network="10.3.0.0/16", SubnetMin="10.3.0.0").subnet_min) == "10.3.0.0"
    assert ipv4_pool(Network="10.3.0.0/28", SubnetLen=30).slots == 3


RANGE_MIN = "SubnetMin is not in the range of the Network"
RANGE_MAX = "SubnetMax is not in the range of the Network"


@pytest.mark.parametrize(
    ("document", "cause"),
    [
        ({}, "please define a correct Network parameter in the flannel config"),
        ({"Network": "0.0.0.0/0"}, "please define a correct Network parameter in the flannel config"),
        ({"Network": "10.0.0.0/8", "SubnetLen": 31}, "SubnetLen must be less than /31"),
        ({"Network": "10.0.0.0/30", "SubnetLen": 31}, "SubnetLen must be less than /31"),
        ({"Network": "10.0.0.0/8", "SubnetLen": 9}, "network must be able to accommodate at least four subnets"),
        ({"Network": "10.0.0.0/29", "SubnetLen": 30}, "network must be able to accommodate at least four subnets"),
        ({"Network": "10.0.0.0/8", "SubnetLen": 8}, "network must be able to accommodate at least four subnets"),
        ({"Network": "10.0.0.0/29"}, "network is too small. Minimum useful network prefix is /28"),
        ({"Network": "10.3.0.0/16", "SubnetMin": "10.4.0.0"}, RANGE_MIN),
        ({"Network": "10.3.0.0/16", "SubnetMin": "10.4.0.1", "SubnetMax": "10.4.0.1"}, RANGE_MIN),
        ({"Network": "10.3.0.0/16", "SubnetMax": "10.2.0.0"}, RANGE_MAX),
        ({"Network": "10.3.0.0/16", "SubnetMin": "10.3.0.1", "SubnetMax": "10.2.0.0"}, RANGE_MAX),
        (
            {"Network": "10.3.0.0/16", "SubnetMin": "10.3.5.1", "SubnetMax": "10.3.9.1"},
            "SubnetMin is not on a SubnetLen boundary: 10.3.5.1",
        ),
        ({"Network": "10.3.0.0/16", "SubnetMax": "10.3.9.1"}, "SubnetMax is not on a SubnetLen boundary: 10.3.9.1"),
    ],
)  # fmt: skip
def test_ipv4_faults_in_order(document: Dict[str, Any], cause: str) -> None:
    assert refuse(json.dumps(document)).cause == cause


# --- 1.4 ---


@pytest.mark.parametrize(
    ("network", "subnet_len", "subnet_min", "subnet_max"),
    [
        ("fc00::/48", 64, "fc00:0:0:1::", "fc00:0:0:ffff::"),
        ("fc00::/62", 64, "fc00:0:0:1::", "fc00:0:0:3::"),
        ("fc00::/63", 65, "fc00::8000:0:0:0", "fc00:0:0:1:8000::"),
        ("fc00::/124", 126, "fc00::4", "fc00::c"),
        ("ffff::/16", 64, "ffff:0:0:1::", "ffff:ffff:ffff:ffff::"),
    ],
)
def test_ipv6_defaults(network: str, subnet_len: int, subnet_min: str, subnet_max: str) -> None:
    pool = ipv6_pool(IPv6Network=network)
    assert show(pool) == (network, subnet_len, subnet_min, subnet_max)


def test_ipv6_overrides() -> None:
    pool = ipv6_pool(
        IPv6Network="fc00::/48", IPv6SubnetLen=124, IPv6SubnetMin="fc00:0:0:1::", IPv6SubnetMax="fc00:0:0:f::"
    )
    assert show(pool) == ("fc00::/48", 124, "fc00:0:0:1::", "fc00:0:0:f::")
    assert show(ipv6_pool(IPv6Network="fc00::/48", IPv6SubnetMin="::", IPv6SubnetMax=None))[1:] == (
        64, "fc00:0:0:1::", "fc00:0:0:ffff::",
    )  # fmt: skip


V6_RANGE_MIN = "IPv6SubnetMin is not in the range of the IPv6Network"
V6_RANGE_MAX = "IPv6SubnetMax is not in the range of the IPv6Network"


@pytest.mark.parametrize(
    ("document", "cause"),
    [
        ({}, "please define a correct IPv6Network parameter in the flannel config"),
        ({"IPv6Network": "::/0"}, "please define a correct IPv6Network parameter in the flannel config"),
        ({"IPv6Network": "10.0.0.0/8"}, 'IPv6Network: invalid IPv6 CIDR format: "10.0.0.0/8"'),
        ({"IPv6Network": "fc00::/48", "IPv6SubnetLen": 127}, "SubnetLen must be less than /127"),
        (
            {"IPv6Network": "fc00::/48", "IPv6SubnetLen": 49},
            "network must be able to accommodate at least four subnets",
        ),
        ({"IPv6Network": "fc00::/125"}, "IPv6Network is too small. Minimum useful network prefix is /124"),
        ({"IPv6Network": "fc00::/48", "IPv6SubnetMin": "fd00::"}, V6_RANGE_MIN),
        ({"IPv6Network": "fc00::/48", "IPv6SubnetMin": "10.0.0.0"}, V6_RANGE_MIN),
        ({"IPv6Network": "fc00::/48", "IPv6SubnetMax": "fd00::"}, V6_RANGE_MAX),
        (
            {"IPv6Network": "fc00::/48", "IPv6SubnetMin": "fc00::1"},
            "IPv6SubnetMin is not on a SubnetLen boundary: fc00::1",
        ),
        (
            {"IPv6Network": "fc00::/48", "IPv6SubnetMax": "fc00::1"},
            "IPv6SubnetMax is not on a SubnetLen boundary: fc00::1",
        ),
    ],
)
def test_ipv6_faults_in_order(document: Dict[str, Any], cause: str) -> None:
    document = {"EnableIPv4": False, "EnableIPv6": True, **document}
    assert refuse(json.dumps(document)).cause == cause


def test_no_family_at_all() -> None:
    assert refuse('{"EnableIPv4":false,"Network":"10.5.0.0/16"}').cause == "none defined stack"


@given(st.integers(1, 30), st.integers(0, 31), st.integers(0, 2**32 - 1))
def test_ipv4_pools_lie_inside_their_network(prefix: int, subnet_len: int, number: int) -> None:
    network = IPv4Network((number >> (32 - prefix) << (32 - prefix), prefix))
    try:
        pool = ipv4_pool(Network=str(network), SubnetLen=subnet_len)
    except ConfigError:
        return
    subnets = [pool.slot(0), pool.slot(pool.slots - 1)]
    assert pool.slots >= 3
    assert all(pool.contains(subnet) for subnet in subnets)
    assert int(subnets[0].network_address) == int(network.network_address) + pool.subnet_size
    assert subnets[1].broadcast_address == network.broadcast_address


# --- 1.6 ---


def parse_backend(backend: Dict[str, Any]) -> Dict[str, Any]:
    return dict(parse(Network="10.5.0.0/16", Backend=backend).backend.options)


def test_an_absent_backend_is_udp_and_known_to_be_absent() -> None:
    config = parse(Network="10.5.0.0/16")
    assert config.backend.type == "udp"
    assert config.backend_was_absent
    assert not parse(Network="10.5.0.0/16", Backend={"Type": "udp"}).backend_was_absent


@pytest.mark.parametrize(
    ("backend", "named"),
    [("{}", ""), ("null", ""), ('{"Type":""}', ""), ('{"Type":null}', ""), ('{"Type":"VXLAN2"}', "vxlan2")],
)
def test_unknown_backends_list_the_known(backend: str, named: str) -> None:
    error = refuse(f'{{"Network":"10.5.0.0/16","Backend":{backend}}}')
    assert error.cause == f"unknown backend type: {named}"
    assert all(known in error.next_step for known in BACKENDS)


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        (
            {"Type": "vxlan"},
            {"VNI": 1, "Port": 0, "MTU": None, "GBP": False, "Learning": False, "DirectRouting": False},
        ),
        (
            {"type": "VXLAN", "vni": 100, "PORT": 8472, "Mtu": 9000, "gbp": True, "learning": True,
             "directRouting": True},
            {"VNI": 100, "Port": 8472, "MTU": 9000, "GBP": True, "Learning": True, "DirectRouting": True},
        ),
        ({"Type": "host-gw", "VNI": "ignored"}, {}),
        ({"Type": "udp"}, {"Port": 8285}),
        ({"Type": "ipip"}, {"DirectRouting": False}),
        (
            {"Type": "wireguard"},
            {"ListenPort": 51820, "ListenPortV6": 51821, "MTU": None, "PSK": "", "PersistentKeepaliveInterval": 0,
             "Mode": "separate"},
        ),
        (  # each host has the key in a file
            {"Type": "ipsec"},
            {"PSK": "", "UDPEncap": False, "ESPProposal": "aes128gcm16-sha256-prfsha256-ecp256"},
        ),
        (
            {"Type": "ipsec", "PSK": "x" * 96},
            {"PSK": "x" * 96, "UDPEncap": False, "ESPProposal": "aes128gcm16-sha256-prfsha256-ecp256"},
        ),
        (
            {"Type": "extension", "SubnetAddCommand": "add"},
            {"PreStartupCommand": "", "PostStartupCommand": "", "SubnetAddCommand": "add", "SubnetRemoveCommand": ""},
        ),
        ({"Type": "tencent-vpc"}, {"AccessKeyID": "", "AccessKeySecret": ""}),
        ({"Type": "alloc"}, {}),
        ({"Type": "aws-vpc"}, {"RouteTableID": None}),
        ({"Type": "aws-vpc", "RouteTableID": "rtb-1"}, {"RouteTableID": ("rtb-1",)}),
        ({"Type": "aws-vpc", "RouteTableID": ["rtb-1", "rtb-2"]}, {"RouteTableID": ("rtb-1", "rtb-2")}),
        ({"Type": "ali-vpc", "AccessKeyID": "id"}, {"AccessKeyID": "id", "AccessKeySecret": ""}),
        ({"Type": "gce"}, {}),
    ],
)  # fmt: skip
def test_backend_options(backend: Dict[str, Any], options: Dict[str, Any]) -> None:
    config = parse(Network="10.5.0.0/16", Backend=backend)
    assert config.backend.type == str(backend.get("Type", backend.get("type"))).lower()
    assert config.backend.options == options


def test_null_and_zero_mean_the_default() -> None:
    assert parse_backend({"Type": "vxlan", "VNI": None, "MTU": 0})["VNI"] == 1
    assert parse_backend({"Type": "vxlan", "MTU": 0})["MTU"] is None
    assert parse_backend({"Type": "vxlan", "VNI": 0})["VNI"] == 0
    assert parse_backend({"Type": "vxlan", "VNI": 16777215, "Port": 65535})["VNI"] == 16777215


PSK = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


@pytest.mark.parametrize("mode", ["separate", "auto", "ipv4", "ipv6"])
def test_wireguard_modes_and_psk(mode: str) -> None:
    options = parse_backend(
        {"Type": "wireguard", "Mode": mode, "PSK": PSK, "PersistentKeepaliveInterval": 25}
    )
    assert (options["Mode"], options["PSK"], options["PersistentKeepaliveInterval"]) == (mode, PSK, 25)


@pytest.mark.parametrize(
    ("backend", "cause"),
    [
        ({"Type": "vxlan", "VNI": 16777216}, "Backend.VNI is 16777216, outside 0 to 16777215: a VNI has 24 bits"),
        ({"Type": "vxlan", "VNI": -1}, "Backend.VNI is -1, outside 0 to 16777215"),
        ({"Type": "vxlan", "VNI": "1"}, 'Backend.VNI must be a whole number, not "1"'),
        ({"Type": "vxlan", "VNI": 1.0}, "Backend.VNI must be a whole number, not 1.0"),
        ({"Type": "vxlan", "VNI": 2**63}, "Backend.VNI must be a whole number, not 9223372036854775808"),
        ({"Type": "vxlan", "vni": 10**30}, "Backend.VNI must be a whole number"),
        ({"Type": "vxlan", "Port": 65536}, "Backend.Port is 65536, outside 0 to 65535: a UDP port has 16 bits"),
        ({"Type": "udp", "Port": -1}, "Backend.Port is -1, outside"),
        ({"Type": "vxlan", "MTU": -1}, "Backend.MTU is -1, outside 0 to 65535"),
        ({"Type": "vxlan", "DirectRouting": "yes"}, 'Backend.DirectRouting must be true or false, not "yes"'),
        ({"Type": "wireguard", "ListenPort": 70000}, "Backend.ListenPort is 70000, outside"),
        ({"Type": "wireguard", "Mode": "Auto"}, "Backend.Mode: no valid Mode configured"),
        ({"Type": "wireguard", "PSK": "c2hvcnQ="}, "Backend.PSK: could not parse psk"),
        ({"Type": "wireguard", "PSK": "é"}, "Backend.PSK: could not parse psk"),
        ({"Type": "ipsec", "PSK": "x" * 95}, "Backend.PSK: config error, password is too short"),
        ({"Type": "extension", "SubnetAddCommand": ["a"]}, "Backend.SubnetAddCommand must be a string, not an array"),
        ({"Type": "aws-vpc", "RouteTableID": [1]}, "Backend.RouteTableID must be a string, not 1"),
    ],
)  # fmt: skip
def test_backend_faults(backend: Dict[str, Any], cause: str) -> None:
    assert refuse(json.dumps({"Network": "10.5.0.0/16", "Backend": backend})).cause.startswith(cause)


@pytest.mark.parametrize(
    "backend",
    [
        {"Type": "ipsec", "PSK": 1234567890},
        {"Type": "ipsec", "PSK": "1234567890"},
        {"Type": "ipsec", "PSK": ["1234567890"]},
        {"Type": "wireguard", "PSK": "1234567890"},
        {"Type": "tencent-vpc", "AccessKeySecret": 1234567890},
        {"Type": "ali-vpc", "AccessKeySecret": {"1234567890": 1}},
        {"Type": "wireguard", "PSK": PSK.replace("x", "1234567890")},
    ],
)
def test_secrets_stay_out_of_errors(backend: Dict[str, Any]) -> None:
    assert "1234567890" not in str(refuse(json.dumps({"Network": "10.5.0.0/16", "Backend": backend})))


def test_secrets_stay_out_of_broken_documents_and_repr() -> None:
    assert "s3cret" not in str(refuse('{"Network":"10.5.0.0/16","Backend":{"Type":"ipsec","PSK":"s3cret"'))
    config = parse(Network="10.5.0.0/16", Backend={"Type": "ipsec", "PSK": "s3cret" * 20})
    assert "s3cret" not in repr(config)
    assert isinstance(hash(config), int)


def test_the_table_of_keys_is_consistent() -> None:
    config_defaults = {"int": int, "bool": bool, "str": str, "list": tuple}
    for keys in BACKENDS.values():
        for key in keys.values():
            assert key.default is None or isinstance(key.default, config_defaults[key.kind])
            assert (key.kind == "int") == bool(key.reason)
    secret = {(kind, name) for kind, keys in BACKENDS.items() for name, key in keys.items() if key.secret}
    assert secret == {
        ("wireguard", "PSK"), ("ipsec", "PSK"), ("tencent-vpc", "AccessKeySecret"), ("ali-vpc", "AccessKeySecret"),
    }  # fmt: skip


# --- canonical JSON and unknown keys ---


def test_canonical() -> None:
    document = {
        "backend": {"vni": 5, "Learning": None, "Nonsense": 1, "TYPE": "VXLAN", "port": 8472},
        "Foo": 1,
        "subnetlen": 24,
        "NETWORK": "10.5.0.0/16",
        "enableipv4": True,
        "SubnetMin": None,
    }
    assert canonical(document) == (
        '{"EnableIPv4":true,"Network":"10.5.0.0/16","SubnetLen":24,'
        '"Backend":{"Type":"vxlan","VNI":5,"Port":8472}}'
    )
    assert canonical(
        {"Network": "10.5.0.0/16", "Backend": {"Type": "extension", "SubnetAddCommand": "a>b"}}
    ) == ('{"Network":"10.5.0.0/16","Backend":{"Type":"extension","SubnetAddCommand":"a\\u003eb"}}')
    assert canonical({}) == "{}"


def test_load_document_merges_as_parse_config_reads() -> None:
    text = (
        '{"network":"10.8.0.0/16","Network":"10.9.0.0/16","network":"10.5.0.0/16","SubnetLen":25,"subnetlen":null,'
        '"Foo":[1],"backend":{"VNI":1,"type":"VXLAN","vni":7,"Bar":2}}'
    )
    assert load_document(text) == {
        "Network": "10.5.0.0/16",
        "SubnetLen": 25,
        "Foo": [1],
        "Backend": {"Type": "VXLAN", "VNI": 7, "Bar": 2},
    }
    assert parse_config(canonical(load_document(text))) == parse_config(text)


def test_null_overrides_an_earlier_backend_but_not_an_earlier_number() -> None:
    text = (
        '{"Network":"10.5.0.0/16","SubnetLen":25,"subnetLen":null,"Backend":{"Type":"vxlan"},"backend":null}'
    )
    assert load_document(text) == {"Network": "10.5.0.0/16", "SubnetLen": 25, "Backend": None}
    assert refuse(text).cause == "unknown backend type: "


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("{}", ()),
        ('{"Network":"10.5.0.0/16","SubnetLen":24,"backend":{"type":"vxlan","vni":1}}', ()),
        ('{"Networks":[],"network":"x","Foo":{"Bar":1}}', ("Networks", "Foo")),
        ('{"Backend":{"Type":"extension","ShutdownCommand":"x","shutdowncommand":"y"},"Z":1}',
         ("Z", "Backend.ShutdownCommand", "Backend.shutdowncommand")),
        ('{"Backend":{"Type":"host-gw","VNI":1}}', ("Backend.VNI",)),
        ('{"Backend":{"Type":"nonsense","VNI":1}}', ("Backend.VNI",)),
        ('{"Backend":"vxlan"}', ()),
        ('{"Backend":{"Name":"x","Type":"vxlan","MacPrefix":"0E-2A"}}', ("Backend.Name", "Backend.MacPrefix")),
    ],
)  # fmt: skip
def test_unknown_keys(text: str, unknown: tuple[str, ...]) -> None:
    assert unknown_keys(text) == unknown


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a":' + "9" * 5000 + "}", '{"a":' + "[" * 100_000])
def test_documents_nobody_can_read(text: str) -> None:
    for read in (load_document, unknown_keys):
        with pytest.raises(ConfigError):
            read(text)


KEYS = [
    "Network",
    "network",
    "SubnetLen",
    "SubnetMin",
    "EnableIPv6",
    "IPv6Network",
    "IPv6SubnetMin",
    "Backend",
    "x",
]
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 24, 25.0, -1, "10.5.0.0/16", "10.5.0.1", "fc00::/48", "fc00::", "::", [], {}, {"Type": "vxlan"},
     {"type": "VXLAN", "VNI": 3, "x": 1}, {"Type": "udp", "Port": "x"}, {"Type": None}, {"Type": "wireguard", "MTU": 0}]
)  # fmt: skip
DOCUMENTS = st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=6).map(
    lambda members: "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in members) + "}"
)


@given(DOCUMENTS | st.text() | st.binary() | st.text(alphabet='{}[]",:\\0Network'))
def test_parse_raises_nothing_but_config_errors(text: str | bytes) -> None:
    for read in (parse_config, load_document, unknown_keys):
        with contextlib.suppress(ConfigError):
            read(text)


@given(DOCUMENTS)
def test_canonical_json_means_the_same(text: str) -> None:
    config: Optional[NetworkConfig]
    try:
        config = parse_config(text)
    except ConfigError:
        return
    written = canonical(load_document(text))
    assert parse_config(written) == config
    assert unknown_keys(written) == ()
    assert canonical(load_document(written)) == written


def test_network_is_masked() -> None:
    assert ipv4_pool(Network="10.5.3.7/16").network == ip_network("10.5.0.0/16")
    assert ipv6_pool(IPv6Network="fc00::7/48").network == ip_network("fc00::/48")
