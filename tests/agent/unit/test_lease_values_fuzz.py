# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever value a lease has in etcd, it is judged, turned into objects, shown and remembered without an exception."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._errors import LeaseError
from ansible_collections.weft.flannel.plugins.module_utils._interface import Interface, InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout, lease_from_item
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue
from flanneld.backends import Node, hostgw, vxlan
from flanneld.instance import Instance
from flanneld.leasing import LeaseChanges, LeaseListing, Unreadable
from flanneld.leasing.peers import Peers
from flanneld.outputs.remembered import format_peers, parse_peers
from flanneld.tables.underlay import Underlay
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.random_leases import OWN_MAC, dual_lease, dual_rules

LAYOUT = Layout.from_prefix("/coreos.com/network")
OWN = dual_lease("10.5.1.0/24", "fd00:5:0:1::/64", 1, OWN_MAC, born=5)
RULES = dual_rules(OWN)
ADDRESSES = (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
CHOICE = InterfaceChoice(Interface(2, "eth0", 1500, ()), *ADDRESSES, *ADDRESSES, "asked for")
UNDERLAY = Underlay(
    "eth0", 2, 1500, True, (ip_interface("192.0.2.1/24"),), ((ip_network("192.0.2.0/24"), "eth0"),)
)
KEYS = ["10.5.2.0-24", "10.5.3.0-24&fd00:5:0:3::-64", "0.0.0.0-0&fd00:5:0:4::-64", "10.5.0.0-20"]
"""Of a peer in one family, in both, in the other; and one that would be wider than its host's."""
BACKENDS = {"vxlan": vxlan, "host-gw": hostgw}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["02:00:00:00:00:07", "02-00-00-00-00-07", OWN_MAC, "192.0.2.7", "2001:db8::7", "1" * 5000]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["VtepMAC", "vtepmac", "VNI", ""]) | st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
DATA = st.fixed_dictionaries({"VtepMAC": JSON}, optional={"VNI": JSON}) | JSON
MEMBERS = {
    "PublicIP": st.sampled_from(["192.0.2.7", "0.0.0.0", "10.5.2.9", "::1"]) | JSON,
    "PublicIPv6": st.sampled_from([None, "2001:db8::7", "fe80::7", "192.0.2.7"]) | JSON,
    "BackendType": st.sampled_from([*BACKENDS] * 3 + ["", "VXLAN", "udp"]) | JSON,
    "BackendData": DATA,
    "BackendV6Data": DATA,
    "Note": JSON,
}
VALUES = st.one_of(
    st.binary(max_size=60),
    st.fixed_dictionaries({}, optional=MEMBERS).map(lambda value: json.dumps(value).encode()),
)


@settings(deadline=None)
@pytest.mark.parametrize("name", BACKENDS)
@given(values=st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=6))
@example([(KEYS[0], b'{"PublicIP":"192.0.2.7","BackendType":"vxlan","BackendData":%s}' % (b"1" * 5000))])
@example([(KEYS[0], b'{"PublicIP":"192.0.2.7","BackendType":"vxlan","BackendData":{"VtepMAC":[7]}}')])
@example(
    [
        (
            KEYS[0],
            b'{"PublicIP":"192.0.2.7","BackendType":"vxlan","BackendData":%s1%s}' % (b"[" * 90, b"]" * 90),
        )
    ]
)
def test_any_value(name, values):
    backend = BACKENDS[name]
    local = vxlan.Local(dict.fromkeys(RULES.config.families, OWN_MAC)) if backend is vxlan else None
    this = Node(Instance(), RULES.config, CHOICE, OWN, local)
    peers = Peers(replace(RULES, refuse=backend.refuse, claims=backend.claims), 600)
    outcomes = [peers.see_listing(LeaseListing((OWN,), (), 10, 1), 0.0)]
    for revision, (key, value) in enumerate(values, start=11):
        item = KeyValue(LAYOUT.subnets + key, value, revision, revision, 1, 7)
        try:
            lease = lease_from_item(LAYOUT, item)
        except LeaseError as error:
            outcomes.append(peers.see_changes(LeaseChanges((), (Unreadable(key, error),), revision), 0.0))
            continue
        outcomes.append(peers.see_changes(LeaseChanges(((lease.subnets, lease),), (), revision), 0.0))
    for outcome in outcomes:
        for lease in outcome.accepted:
            for thing in backend.desired_for(this, lease, UNDERLAY):
                assert str(thing)
    assert all(str(state) for state in peers.snapshot())
    assert parse_peers(format_peers(peers.known())) == peers.known()
