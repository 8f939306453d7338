# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lease keys and values, byte for byte (spec 2.1-2.3, 9.3 rows subnet and etcd)."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Optional

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import LeaseError
from ansible_collections.weft.flannel.plugins.module_utils._gojson import encode
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Attributes,
    Layout,
    Lease,
    Subnets,
    format_key,
    format_value,
    lease_from_item,
    parse_key,
    parse_value,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6
from hypothesis import given
from hypothesis import strategies as st

V4_SUBNETS = st.builds(
    lambda number, length: IPv4Network((number >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 31),
)
V6_SUBNETS = st.builds(
    lambda number, length: IPv6Network((number >> (128 - length) << (128 - length), length)),
    st.integers(2**125, 2**128 - 1),
    st.integers(8, 127),
)
ATTRIBUTES = st.builds(
    Attributes,
    public_ip=st.none() | st.integers(1, 2**32 - 1).map(IPv4Address),
    public_ipv6=st.none() | st.integers(2**48, 2**128 - 1).map(IPv6Address),
    backend_type=st.text(),
    backend_data=st.none() | st.text().map(encode),
    backend_v6_data=st.none() | st.dictionaries(st.text(), st.integers() | st.text()).map(encode),
)


# --- keys ---


@pytest.mark.parametrize(
    ("key", "v4", "v6"),
    [
        ("10.5.52.0-24", "10.5.52.0/24", None),
        ("10.12.13.0-24", "10.12.13.0/24", None),
        ("10.12.13.0-31", "10.12.13.0/31", None),
        ("10.12.13.0-24&fd00:12:13::-56", "10.12.13.0/24", "fd00:12:13::/56"),
        ("0.0.0.0-0&fd00:12:13::-56", None, "fd00:12:13::/56"),
    ],
)
def test_key(key: str, v4: Optional[str], v6: Optional[str]) -> None:
    subnets = Subnets(IPv4Network(v4) if v4 else None, IPv6Network(v6) if v6 else None)
    assert parse_key(key) == subnets
    assert format_key(subnets) == key
    assert subnets.of(IPV4) == subnets.v4
    assert subnets.of(IPV6) == subnets.v6


@pytest.mark.parametrize(
    ("key", "canonical"),
    [
        ("x10.5.52.0-24", "10.5.52.0-24"),
        ("1.2.10.5.52.0-24", "10.5.52.0-24"),
        ("10.5.52.0-024", "10.5.52.0-24"),
        ("10.5.52.0-24&fd00:0012:13:0::-56", "10.5.52.0-24&fd00:12:13::-56"),
        ("10.5.52.0-24&::-0", "10.5.52.0-24"),
    ],
)
def test_what_upstream_reads_too(key: str, canonical: str) -> None:
    assert format_key(parse_key(key)) == canonical


@pytest.mark.parametrize(
    "key",
    ["10", "10.12.13.0", "10.12.13-24", "10.12.13.300-24", "10.12.13.0-24hi", "&2001::-56",
     "10.12.13.0-24&:12:13:-56", "10.12.13.0-24&20011::-56", "10.12.13.0-24&2001-56", "10.12.13.0-24&2001::",
     "10.12.13.0-24&2001::-56hi"],
)  # fmt: skip
def test_keys_upstream_refuses(key: str) -> None:
    with pytest.raises(LeaseError):
        parse_key(key)


@pytest.mark.parametrize(
    "key",
    ["", "255.255.255.255-32", "10.12.13.0-32", "10.12.13.0-99999999999999999999", "010.12.13.0-24",
     "10.12.13.0-24\n", "10.12.13.0/24", "10.12.13.0-24&FD00::-56", "10.12.13.0-24&fd00::-128",
     "10.12.13.0-24&::ffff:a00:0-112", "fd00::-56", "10.12.13.0 - 24", "1\uff11.12.13.0-24", "config"],
)  # fmt: skip
def test_more_keys_nobody_can_read(key: str) -> None:
    with pytest.raises(LeaseError):
        parse_key(key)


@pytest.mark.parametrize("key", ["0.0.0.0-0", "0.0.0.0-0&::-0"])
def test_a_key_without_a_subnet_is_no_lease(key: str) -> None:
    with pytest.raises(LeaseError, match="names no subnet"):
        parse_key(key)


@pytest.mark.parametrize("key", ["10.12.13.5-24", "10.0.0.0-0", "10.12.13.0-24&fd00::1-64"])
def test_host_bits_are_refused(key: str) -> None:
    with pytest.raises(LeaseError, match="is not the first address of a /"):
        parse_key(key)


@pytest.mark.parametrize("key", ["1" * 500_000, "1." * 250_000, "1.1.1.1-1&" + "a" * 500_000])
def test_a_huge_key_is_refused_at_once(key: str) -> None:
    with pytest.raises(LeaseError) as refused:
        parse_key(key)
    assert len(str(refused.value)) < 300


@given(V4_SUBNETS, st.none() | V6_SUBNETS)
def test_key_round_trip(v4: IPv4Network, v6: Optional[IPv6Network]) -> None:
    assert parse_key(format_key(Subnets(v4, v6))) == Subnets(v4, v6)


@given(V6_SUBNETS)
def test_ipv6_only_key_round_trip(v6: IPv6Network) -> None:
    assert parse_key(format_key(Subnets(None, v6))) == Subnets(None, v6)


@given(st.text() | st.text(alphabet="0123456789.-&:abcdef", max_size=40))
def test_keys_raise_nothing_but_lease_errors(text: str) -> None:
    try:
        subnets = parse_key(text)
    except LeaseError:
        return
    assert parse_key(format_key(subnets)) == subnets


@pytest.mark.parametrize(
    ("v4", "v6"),
    [(None, None), ("10.0.0.0/32", None), ("0.0.0.0/0", None), (None, "fd00::/128"), (None, "::/0")],
)
def test_subnets_no_key_can_say(v4: Optional[str], v6: Optional[str]) -> None:
    with pytest.raises(LeaseError):
        Subnets(IPv4Network(v4) if v4 else None, IPv6Network(v6) if v6 else None)


# --- values ---

VXLAN = '{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}'
WIREGUARD = '{"PublicKey":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=","Port":51820}'
WIREGUARD_V6 = '{"PublicKey":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=","Port":51821}'
V6 = IPv6Address("fd00:192::3")


@pytest.mark.parametrize(
    ("value", "attributes"),
    [
        ('{"PublicIP":"1.2.3.4","PublicIPv6":null}', Attributes(IPv4Address("1.2.3.4"))),
        ('{"PublicIP":"0.0.0.0","PublicIPv6":"fd00:192::3"}', Attributes(None, V6)),
        (
            '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"host-gw"}',
            Attributes(IPv4Address("1.2.3.4"), backend_type="host-gw"),
        ),
        (
            '{"PublicIP":"1.2.3.4","PublicIPv6":"fd00:192::3","BackendType":"host-gw"}',
            Attributes(IPv4Address("1.2.3.4"), V6, "host-gw"),
        ),
        (
            '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan",'
            '"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
            Attributes(IPv4Address("192.168.64.3"), None, "vxlan", VXLAN),
        ),
        (
            '{"PublicIP":"192.168.64.3","PublicIPv6":"fd00:192::3","BackendType":"vxlan",'
            '"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},'
            '"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
            Attributes(IPv4Address("192.168.64.3"), V6, "vxlan", VXLAN, VXLAN),
        ),
        (
            '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"ipip"}',
            Attributes(IPv4Address("1.2.3.4"), backend_type="ipip"),
        ),
        (
            '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"ipsec"}',
            Attributes(IPv4Address("1.2.3.4"), backend_type="ipsec"),
        ),
        (
            '{"PublicIP":"1.2.3.4","PublicIPv6":"fd00:192::3","BackendType":"wireguard",'
            f'"BackendData":{WIREGUARD},"BackendV6Data":{WIREGUARD_V6}}}',
            Attributes(IPv4Address("1.2.3.4"), V6, "wireguard", WIREGUARD, WIREGUARD_V6),
        ),
        (
            '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"extension","BackendData":"a \\u003e b\\n"}',
            Attributes(IPv4Address("1.2.3.4"), None, "extension", '"a \\u003e b\\n"'),
        ),
    ],
)
def test_value_byte_for_byte(value: str, attributes: Attributes) -> None:
    assert format_value(attributes) == value
    assert parse_value(value) == attributes
    assert parse_value(value.encode()) == attributes


@pytest.mark.parametrize(
    ("value", "attributes"),
    [
        ('{"PublicIP":"1.2.3.4"}', Attributes(IPv4Address("1.2.3.4"))),
        ("{}", Attributes()),
        ('{"PublicIP":"1.2.3.4","PublicIPv6":"::"}', Attributes(IPv4Address("1.2.3.4"))),
        ('{"PublicIP":"::ffff:1.2.3.4"}', Attributes(IPv4Address("1.2.3.4"))),
        (
            ' { "backendtype" : "vxlan" ,\n "BACKENDDATA" : { "VtepMAC" : "c6:d2:32:6f:8f:44" },"publicip":"1.2.3.4"}',
            Attributes(IPv4Address("1.2.3.4"), None, "vxlan", '{"VtepMAC":"c6:d2:32:6f:8f:44"}'),
        ),
        (
            '{"PublicIP":"9.9.9.9","Extra":[1],"publicIP":"1.2.3.4","BackendType":"ipip","BackendType":null}',
            Attributes(IPv4Address("1.2.3.4"), backend_type="ipip"),
        ),
        (
            '{"PublicIP":"1.2.3.4","BackendData":null,"BackendV6Data":null}',
            Attributes(IPv4Address("1.2.3.4")),
        ),
        (
            '{"PublicIP":"1.2.3.4","BackendData":1.50}',
            Attributes(IPv4Address("1.2.3.4"), backend_data="1.50"),
        ),
    ],
)
def test_readers_are_lenient(value: str, attributes: Attributes) -> None:
    assert parse_value(value) == attributes


def test_go_escapes_inside_backend_data() -> None:
    value = parse_value('{"PublicIP":"1.2.3.4","BackendType":"a&b","BackendData":{"x":"<\u2028>"}}')
    assert format_value(value) == (
        '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"a\\u0026b",'
        '"BackendData":{"x":"\\u003c\\u2028\\u003e"}}'
    )


@pytest.mark.parametrize(
    "value",
    ["", "x", "[]", '"1.2.3.4"', "{", '{"PublicIP":"1.2.3.4"}x', '{"PublicIP":null}', '{"PublicIP":1}',
     '{"PublicIP":["1.2.3.4"]}', '{"PublicIP":""}', '{"PublicIP":"1.2.3"}', '{"PublicIP":"01.2.3.4"}',
     '{"PublicIP":"fd00::1"}', '{"PublicIPv6":"1.2.3.4"}', '{"PublicIPv6":5}', '{"PublicIPv6":"fe80::1%eth0"}',
     '{"BackendType":5}', '{"BackendType":{}}', '{"BackendData":NaN}', '{"BackendData":}',
     '{"PublicIP":' + "[" * 900 + "]" * 900 + "}", '{"BackendData":' + "[" * 100_000],
)  # fmt: skip
def test_bad_values(value: str) -> None:
    with pytest.raises(LeaseError) as refused:
        parse_value(value)
    assert refused.value.next_step


def test_backend_data_that_is_not_json_is_not_written() -> None:
    with pytest.raises(LeaseError, match="BackendV6Data is not JSON"):
        format_value(Attributes(backend_v6_data='{"VNI":1'))


@given(ATTRIBUTES)
def test_value_round_trip(attributes: Attributes) -> None:
    text = format_value(attributes)
    assert parse_value(text) == attributes
    assert parse_value(json.dumps(json.loads(text), indent=2, ensure_ascii=False)) == attributes
    assert not set(text) & set("<>&\u2028\u2029")


@given(st.text() | st.binary() | st.text(alphabet='{}":,PublicIP1.2null'))
def test_values_raise_nothing_but_lease_errors(value: str | bytes) -> None:
    with contextlib.suppress(LeaseError):
        parse_value(value)


def test_attributes_by_family() -> None:
    attributes = Attributes(IPv4Address("1.2.3.4"), V6, "wireguard", WIREGUARD, WIREGUARD_V6)
    assert attributes.public_address(IPV4) == IPv4Address("1.2.3.4")
    assert attributes.public_address(IPV6) == V6
    assert attributes.data(IPV4) == WIREGUARD
    assert attributes.data(IPV6) == WIREGUARD_V6


# --- layout and items ---


@dataclass(frozen=True)
class PrefixCase:
    prefix: str
    config: str
    subnets: str


@pytest.mark.parametrize(
    "case",
    [
        PrefixCase("/coreos.com/network", "/coreos.com/network/config", "/coreos.com/network/subnets/"),
        PrefixCase("/coreos.com/network/", "/coreos.com/network/config", "/coreos.com/network/subnets/"),
        PrefixCase("//coreos.com///network//", "/coreos.com/network/config", "/coreos.com/network/subnets/"),
        PrefixCase("coreos.com/network", "coreos.com/network/config", "coreos.com/network/subnets/"),
        PrefixCase("/a/./b/../c", "/a/c/config", "/a/c/subnets/"),
        PrefixCase("/", "/config", "/subnets/"),
        PrefixCase("", "config", "subnets/"),
    ],
    ids=lambda case: case.prefix,
)
def test_layout(case: PrefixCase) -> None:
    layout = Layout.from_prefix(case.prefix)
    assert layout.config == case.config
    assert layout.subnets == case.subnets
    assert layout.nodes == case.subnets[: -len("subnets/")] + "nodes/"


LAYOUT = Layout.from_prefix("/coreos.com/network")
SUBNETS = Subnets(IPv4Network("10.1.5.0/24"))


def make_item(key: str, value: bytes, lease_id: int = 7) -> KeyValue:
    return KeyValue(key, value, create_revision=3, mod_revision=5, version=2, lease_id=lease_id)


def test_lease_from_item() -> None:
    key = "/coreos.com/network/subnets/10.1.5.0-24"
    lease = lease_from_item(LAYOUT, make_item(key, b'{"PublicIP":"1.2.3.4","PublicIPv6":null}'))
    assert lease == Lease(SUBNETS, Attributes(IPv4Address("1.2.3.4")), 3, 5, 7)
    assert lease.key == "10.1.5.0-24"
    assert LAYOUT.subnet_key(lease.subnets) == key
    assert not lease.is_reservation


def test_a_key_without_an_etcd_lease_is_a_reservation() -> None:
    item = make_item("/coreos.com/network/subnets/10.1.5.0-24", b'{"PublicIP":"1.2.3.4"}', lease_id=0)
    assert lease_from_item(LAYOUT, item).is_reservation


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("/coreos.com/network/subnets/10.1.5.0-24", b"junk"),
        ("/coreos.com/network/subnets/junk", b"{}"),
        ("/coreos.com/network/subnets/", b"{}"),
        ("/coreos.com/network/config", b"{}"),
        ("10.1.5.0-24", b"{}"),
        ("/elsewhere/subnets/10.1.5.0-24", b"{}"),
        ("/coreos.com/network/subnets/x10.1.5.0-24", b"{}"),
        ("/coreos.com/network/subnets/deeper/10.1.5.0-24", b"{}"),
        ("/coreos.com/network/subnets/10.1.5.0-24&fd00:0:0::-64", b"{}"),
        ("/coreos.com/network/subnets/\udcff", b"\xff"),
    ],
)
def test_items_that_are_no_leases_name_their_key(key: str, value: bytes) -> None:
    with pytest.raises(LeaseError) as refused:
        lease_from_item(LAYOUT, make_item(key, value))
    assert refused.value.subject == f"lease {encode(key)}"


@given(
    st.text() | st.text(alphabet="0123456789.-&:abcdef").map("/coreos.com/network/subnets/".__add__),
    st.binary(),
)
def test_items_raise_nothing_but_lease_errors(key: str, value: bytes) -> None:
    with contextlib.suppress(LeaseError):
        lease_from_item(LAYOUT, make_item(key, value))
