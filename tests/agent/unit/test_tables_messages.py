# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the netlink tables needs no kernel: messages, error texts, comparison of devices."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from flanneld.tables.device import OtherLink
from flanneld.tables.refusal import explain_refusal
from flanneld.tables.route import RTA_DST, RTA_GATEWAY, RTA_OIF, RTMSG, TABLE_MAIN, Route, parse_route
from flanneld.tables.rtnetlink import (
    RTM_NEWROUTE,
    mac_from,
    pack_attribute,
    pack_mac,
    parse_attributes,
    parse_messages,
    remember_names,
)
from flanneld.tables.vxlan_link import VxlanLink
from hypothesis import given
from hypothesis import strategies as st

VTEP = VxlanLink("flannel.1", 1, "c6:d2:32:6f:8f:44", 1450, "eth0", ip_address("192.0.2.1"))


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_to_an_end(data: bytes) -> None:
    assert sum(len(message.body) for _sequence, message in parse_messages(data)) <= len(data)
    assert all(len(value) <= len(data) for value in parse_attributes(data, 0).values())


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=10))
def test_attributes_come_back(attributes: dict[int, bytes]) -> None:
    packed = b"".join(pack_attribute(kind, value) for kind, value in attributes.items())
    assert len(packed) % 4 == 0
    assert parse_attributes(b"head" + packed, 4) == attributes


def test_nested_and_byte_order_flags_are_no_part_of_the_kind() -> None:
    assert parse_attributes(pack_attribute(0x8012, b"x"), 0) == {0x12: b"x"}


def test_thousands_of_messages_about_a_device_ask_for_its_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def see(index: int) -> str:
        asked.append(index)
        return "flannel.1"

    monkeypatch.setattr(socket, "if_indextoname", see)
    routes = [
        Route(ip_network(f"10.5.{number}.0/24"), ip_address("10.5.0.0"), "flannel.1") for number in range(256)
    ]
    data = b"".join(pack(route) for route in routes)
    together = remember_names()
    assert [parse_route(message) for _sequence, message in parse_messages(data, together)] == routes
    assert asked == [7]


def pack(route: Route) -> bytes:
    """As the kernel tells it, with flannel.1 as the seventh device."""
    body = RTMSG.pack(socket.AF_INET, 24, 0, 0, TABLE_MAIN, route.protocol, route.scope, route.type, 0)
    for kind, value in (
        (RTA_DST, route.destination.network_address.packed),
        (RTA_GATEWAY, ip_address("10.5.0.0").packed),
        (RTA_OIF, struct.pack("=I", 7)),
    ):
        body += pack_attribute(kind, value)
    return struct.pack("=IHHII", 16 + len(body), RTM_NEWROUTE, 0, 0, 0) + body


def test_mac_addresses() -> None:
    assert mac_from(pack_mac("c6:d2:32:6f:8f:44")) == "c6:d2:32:6f:8f:44"
    assert mac_from(b"") == ""


@pytest.mark.parametrize(
    ("code", "step"),
    [
        (errno.EPERM, "CAP_NET_ADMIN"),
        (errno.EACCES, "CAP_NET_ADMIN"),
        (errno.ENETUNREACH, "one layer-2 segment"),
        (errno.EHOSTUNREACH, "one layer-2 segment"),
        (errno.ENETDOWN, "set the device up"),
        (errno.ENOBUFS, "gc_thresh3"),
        (errno.EBUSY, "flanneld tries again"),
    ],
)
def test_a_refusal_has_a_next_step(code: int, step: str) -> None:
    error = explain_refusal("route 10.5.72.0/24", code, "the kernel's words")
    assert error.errno == code
    assert error.subject == "route 10.5.72.0/24"
    assert error.cause.endswith("(the kernel's words)")
    assert step in error.next_step


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (OtherLink("flannel.1", "dummy", VTEP.mac, 1450, up=True), "link type: dummy vs vxlan"),
        (replace(VTEP, vni=2, local=None), "vni: 2 vs 1"),
        (replace(VTEP, underlay=""), "vtep (external) interface: - vs eth0"),
        (replace(VTEP, local=None), "vtep (external) IP: - vs 192.0.2.1"),
        (replace(VTEP, local=ip_address("fe80::1")), "vtep (external) IP: fe80::1 vs 192.0.2.1"),
        (replace(VTEP, extras=("l2miss",)), "unwanted properties: l2miss vs -"),
        (replace(VTEP, gbp=True), "gbp: True vs -"),
    ],
)
def test_why_a_device_is_made_again(found: VxlanLink | OtherLink, reason: str) -> None:
    assert VTEP.find_immutable_difference(found) == reason
    assert found != VTEP


@pytest.mark.parametrize(
    "found",
    [
        replace(VTEP, mtu=1),
        replace(VTEP, mac="02:00:00:00:00:01"),
        replace(VTEP, learning=True),
        replace(VTEP, up=False),
        replace(VTEP, tx_checksum=False),
        replace(VTEP, local=ip_address("192.0.2.9")),
    ],
)
def test_a12_what_differs_and_can_be_set(found: VxlanLink) -> None:
    wanted = replace(VTEP, tx_checksum=True)
    assert wanted.find_immutable_difference(found) is None
    assert found != wanted


@pytest.mark.parametrize("found", [True, False])
def test_a_checksum_offload_that_nobody_asked_for_is_any(found: bool) -> None:
    assert replace(VTEP, tx_checksum=found) == VTEP


def test_port_0_is_any_port() -> None:
    assert replace(VTEP, port=8472) == VTEP
    assert hash(replace(VTEP, port=8472)) == hash(VTEP)
    assert replace(VTEP, port=8472) != replace(VTEP, port=4789)
    assert (
        replace(VTEP, port=8472).find_immutable_difference(replace(VTEP, port=4789)) == "port: 4789 vs 8472"
    )
