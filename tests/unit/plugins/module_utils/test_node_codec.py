# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Node entries: written compactly, read with patience."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import LeaseError
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout
from ansible_collections.weft.flannel.plugins.module_utils._node import (
    NodeEntry,
    format_node,
    node_from_item,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue
from hypothesis import given
from hypothesis import strategies as st

LAYOUT = Layout.from_prefix("/coreos.com/network")
ID = "0123456789abcdef0123456789abcdef"


def make_item(value: bytes, key: str = LAYOUT.nodes + ID) -> KeyValue:
    return KeyValue(key, value, 3, 5, 1, 7)


def test_the_key_lies_beside_the_leases() -> None:
    assert LAYOUT.node_key(ID) == f"/coreos.com/network/nodes/{ID}"
    assert not LAYOUT.node_key(ID).startswith(LAYOUT.subnets)


def test_written_and_read_back() -> None:
    entry = NodeEntry(
        ID, "b-1", "web<1>", IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"), "10.5.1.0-24", "1.2", 3, 7
    )
    value = format_node(entry)
    assert value == (
        '{"Host":"web\\u003c1\\u003e","BootID":"b-1","PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1",'
        '"Subnet":"10.5.1.0-24","Version":"1.2"}'
    )
    assert node_from_item(LAYOUT, make_item(value.encode())) == entry


@pytest.mark.parametrize(
    "value",
    [b"{}", b"null", b'{"Later":[{"a":1}],"Host":7,"PublicIP":null,"Subnet":{}}', b' { "BootID" : "" } '],
)
def test_unknown_and_missing_keys_are_passed_over(value: bytes) -> None:
    assert node_from_item(LAYOUT, make_item(value)) == NodeEntry(ID, create_revision=3, lease_id=7)


@pytest.mark.parametrize(
    "value",
    [b"", b"junk", b"[]", b'{"Host":"a"', b'{"PublicIP":"192.0.2.300"}', b'{"PublicIPv6":"192.0.2.3"}'],
)
def test_a_damaged_entry_is_named(value: bytes) -> None:
    with pytest.raises(LeaseError, match=f"/coreos.com/network/nodes/{ID}"):
        node_from_item(LAYOUT, make_item(value))


@given(st.binary(), st.text())
def test_whatever_is_there_is_read_or_refused(value: bytes, name: str) -> None:
    try:
        entry = node_from_item(LAYOUT, make_item(value, LAYOUT.nodes + name))
    except LeaseError:
        return
    assert node_from_item(LAYOUT, make_item(format_node(entry).encode(), LAYOUT.nodes + name)) == entry
    assert str(entry)
