# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases of a small dual-stack world in which everything that can clash does so often (hypothesis)."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, List, Optional

from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease, Subnets
from flanneld.backends import vxlan
from flanneld.leasing.conflicts import Rules
from hypothesis import strategies as st

from tests.support.leases import config

V6_NETWORK = "fd00:5::/48"
OWN_PUBLIC, OWN_PUBLIC_V6 = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")

MACS = ["02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"]
OWN_MAC = MACS[0]


def dual_lease(
    v4: Optional[str],
    v6: Optional[str],
    number: int,
    mac: Optional[str] = None,
    born: int = 10,
    **attributes: Any,
) -> Lease:
    """A vxlan lease of the host 192.0.2.NUMBER and 2001:db8::NUMBER, in one family or both."""
    data = json.dumps({"VNI": 1, "VtepMAC": mac or f"02:00:00:00:01:{number:02x}"}, separators=(",", ":"))
    value = Attributes(
        IPv4Address(f"192.0.2.{number}") if v4 else None,
        IPv6Address(f"2001:db8::{number}") if v6 else None,
        "vxlan",
        data if v4 else None,
        data if v6 else None,
    )
    subnets = Subnets(IPv4Network(v4) if v4 else None, IPv6Network(v6) if v6 else None)
    return Lease(subnets, replace(value, **attributes), born, born, 7)


def dual_rules(own: Lease, v4: bool = True, v6: bool = True) -> Rules:
    """A vxlan host with these families on."""
    keys = {"EnableIPv6": True, "IPv6Network": V6_NETWORK} if v6 else {}
    cfg = config("10.5.0.0/16", EnableIPv4=v4, **keys)
    publics = (own.attributes.public_ip, own.attributes.public_ipv6)
    return Rules(
        own=own,
        config=cfg,
        underlay=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/64")),
        own_addresses=frozenset(address for address in publics if address is not None),
        own_claims=frozenset(claim for family in cfg.families for claim in vxlan.claims(own, family)),
        address=lambda lease, family: lease.attributes.public_address(family),
        refuse=vxlan.refuse,
        claims=vxlan.claims,
    )


def rules() -> st.SearchStrategy[Rules]:
    """Our own lease, of any age, on a host with one family on, or both."""
    families = st.sampled_from([(True, True), (True, False), (False, True)])
    return st.builds(
        lambda on, born: dual_rules(
            dual_lease(
                "10.5.1.0/24" if on[0] else None, "fd00:5:0:1::/64" if on[1] else None, 1, OWN_MAC, born
            ),
            *on,
        ),
        families,
        st.integers(0, 12),
    )


@st.composite
def subnets(draw: st.DrawFn) -> Subnets:
    v4 = IPv4Network(
        (int(IPv4Address("10.5.0.0")) + draw(st.integers(0, 15)) * 128, draw(st.integers(23, 26))),
        strict=False,
    )
    v6 = IPv6Network(
        (int(IPv6Address("fd00:5::")) + (draw(st.integers(0, 15)) << 63), draw(st.integers(63, 66))),
        strict=False,
    )
    strange = draw(st.sampled_from([None] * 8 + ["10.0.0.0/8", "10.6.0.0/24", "0.0.0.0/1"]))
    which = draw(st.sampled_from(["4", "4", "46", "46", "6"]))
    return Subnets(
        IPv4Network(strange) if strange else v4 if "4" in which or strange else None,
        v6 if "6" in which else None,
    )


def _addresses(usual: List[str], strange: List[str]) -> st.SearchStrategy[Any]:
    return st.sampled_from([ip_address(text) for text in usual * 3 + strange] + [None])


def attributes() -> st.SearchStrategy[Attributes]:
    data = st.sampled_from(
        [json.dumps({"VNI": 1, "VtepMAC": mac}, separators=(",", ":")) for mac in MACS[1:] * 3]
        + [f'{{"VtepMAC":"{OWN_MAC}"}}', "{}", "null", "[]", '"x"', None]
    )
    return st.builds(
        Attributes,
        _addresses(
            ["192.0.2.2", "192.0.2.3", "192.0.2.4"],
            [str(OWN_PUBLIC), "127.0.0.1", "224.0.0.1", "10.5.2.9", "10.5.1.9"],
        ),
        _addresses(
            ["2001:db8::2", "2001:db8::3", "2001:db8::4"],
            [str(OWN_PUBLIC_V6), "::1", "fe80::1", "fd00:5:0:2::9"],
        ),
        st.sampled_from(["vxlan"] * 8 + ["host-gw", ""]),
        data,
        data,
    )


def leases() -> st.SearchStrategy[Lease]:
    return st.builds(
        lambda where, value, born: Lease(where, value, born, born, 7),
        subnets(),
        attributes(),
        st.integers(1, 12),
    )
