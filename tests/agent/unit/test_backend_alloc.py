# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""alloc publishes an address, and wants nothing in the kernel (spec 2.3, 5.1)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, format_value
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4
from flanneld.backends import alloc, find_backend
from flanneld.instance import Instance

from tests.agent.unit.test_backends import CHOICE, DUAL_CHOICE, PEER, UNDERLAY, dual, host, node
from tests.support.leases import config

ALLOC = config(backend="alloc")
UNTYPED = replace(PEER, attributes=Attributes(ip_address("192.0.2.2")))


def test_it_is_found_by_name_and_runs_everywhere():
    assert find_backend(ALLOC) is alloc
    alloc.prepare(host(), ALLOC)


def test_the_lease_has_the_address_alone():
    assert format_value(alloc.attributes(None, CHOICE, ALLOC)) == (
        '{"PublicIP":"192.0.2.1","PublicIPv6":null}'
    )


@pytest.mark.parametrize(
    ("ipv4", "value"),
    [
        (True, '{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1"}'),
        (False, '{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"}'),
    ],
)
def test_ipv6_is_published_where_the_config_has_it(ipv4, value):
    """Upstream panics without IPv4."""
    assert format_value(alloc.attributes(None, DUAL_CHOICE, dual("alloc", EnableIPv4=ipv4))) == value


def test_nothing_is_wanted_on_the_host():
    this = node(ALLOC, None)
    assert list(alloc.desired(this, UNDERLAY)) == []
    assert list(alloc.desired_for(this, UNTYPED, UNDERLAY)) == []
    assert alloc.devices(Instance(), ALLOC) == {}
    assert alloc.overhead(ALLOC, IPV4) == 0


def test_the_mtu_is_that_of_the_underlay():
    assert alloc.mtu(ALLOC, UNDERLAY.mtu) == 1500


def test_a_host_that_runs_another_backend_is_named():
    assert alloc.refuse(UNTYPED, IPV4) is None
    assert alloc.refuse(PEER, IPV4) == "BackendType is vxlan, this host runs alloc"
    assert list(alloc.claims(UNTYPED, IPV4)) == []
