# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IP-in-IP devices on a kernel that has them: what the link table writes is what `ip` shows, and what it reads back."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Dict, Iterator

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4
from flanneld.backends.room import SMALLEST_MTU
from flanneld.tables import Change
from flanneld.tables.ipip_link import IpipLink
from flanneld.tables.link import LinkTable, has_kind
from flanneld.tables.scope import Scope

from tests.support.kernel import add_underlay, fresh_namespace, sh

pytestmark = pytest.mark.modules("ipip", "fou", "ip_gre")
SCOPE = Scope(frozenset({"flannel.ipip"}), "eth0", ())
WANTED = IpipLink("flannel.ipip", 1480, ip_address("192.0.2.1"))


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with fresh_namespace():
        add_underlay("eth0", "192.0.2.1/24")
        sh("ip address add 192.0.2.7/24 dev eth0")
        yield


def put(wanted: IpipLink) -> None:
    """What the reconciler does about one wanted device that differs."""
    table = LinkTable(SCOPE)
    assert table.apply([Change(wanted.key, table.dump().get(wanted.key), wanted)]) == {}
    assert table.dump()[wanted.key] == wanted


def refusal(wanted: IpipLink) -> str:
    table = LinkTable(SCOPE)
    return str(table.apply([Change(wanted.key, table.dump().get(wanted.key), wanted)])[wanted.key])


def ifindex() -> str:
    return sh("ip -o link show flannel.ipip")[0].split(":")[0]


def test_it_is_made_as_upstream_makes_it() -> None:
    put(WANTED)
    shown = " ".join(sh("ip -d link show flannel.ipip"))
    assert "mtu 1480 qdisc noqueue" in shown
    assert "link/ipip 192.0.2.1 brd 0.0.0.0" in shown
    assert "ipip ipip remote any local 192.0.2.1 ttl inherit pmtudisc" in shown
    assert ",UP" in shown


@pytest.mark.parametrize(
    "difference", [{"mtu": 1400}, {"local": ip_address("192.0.2.7")}], ids=["mtu", "local"]
)
def test_what_can_be_set_in_place_is_and_its_routes_stay(difference: Dict[str, Any]) -> None:
    put(WANTED)
    sh("ip address add 10.5.34.0/32 dev flannel.ipip")
    sh("ip route add 10.5.72.0/24 via 192.0.2.2 dev flannel.ipip onlink")
    index = ifindex()
    for wanted in (replace(WANTED, **difference), WANTED):
        put(wanted)
        assert ifindex() == index
        assert sh("ip route show 10.5.72.0/24"), "the route is gone"


def test_one_that_is_down_is_set_up() -> None:
    put(WANTED)
    sh("ip link set flannel.ipip down")
    assert LinkTable(SCOPE).dump()["flannel.ipip"] != WANTED
    put(WANTED)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ("type ipip local 192.0.2.1 remote 192.0.2.9", "remote 192.0.2.9"),
        ("type ipip local 192.0.2.1 dev eth0", "dev eth0"),
        ("type ipip external", "external"),
        ("type ipip local 192.0.2.1 mode mplsip", "protocol 137"),
        ("type ipip local 192.0.2.1 encap fou encap-sport auto encap-dport 5555", "encapsulation 1"),
        ("type ipip local 192.0.2.1 fwmark 7", "fwmark 7"),
        ("type bridge", "link type: bridge vs ipip"),
        ("type gre local 192.0.2.1", "link type: gre vs ipip"),
    ],
    ids=["remote", "dev", "external", "mode", "encapsulation", "fwmark", "bridge", "gre"],
)
def test_what_cannot_be_set_in_place_is_made_again(
    made: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    sh(f"ip link add flannel.ipip {made}")
    index = ifindex()
    put(WANTED)
    assert reason in caplog.text
    assert ifindex() != index


@pytest.mark.parametrize("made", ["nopmtudisc", "ttl 64", "mode ipip", "mode any"])
def test_a_tunnel_to_anywhere_is_taken_over(made: str) -> None:
    sh(f"ip link add flannel.ipip mtu 1480 type ipip local 192.0.2.1 {made}")
    sh("ip link set flannel.ipip up")
    index = ifindex()
    put(WANTED)
    assert ifindex() == index


def test_a_rival_is_named() -> None:
    sh("ip link add mine type ipip local 192.0.2.1")
    text = refusal(WANTED)
    assert "mine is an ipip device with the same local address 192.0.2.1" in text
    assert "ip link del mine" in text
    put(replace(WANTED, local=ip_address("192.0.2.7")))
    assert "mine is an ipip device" in refusal(WANTED), "also when it is to be set in place"


def test_the_smallest_mtu() -> None:
    put(replace(WANTED, mtu=SMALLEST_MTU[IPV4]))


def test_tunl0_is_never_ours() -> None:
    table = LinkTable(SCOPE)
    put(WANTED)
    found = table.dump()["tunl0"]
    assert isinstance(found, IpipLink)
    assert not table.owns(found)
    assert table.owns(table.dump()["flannel.ipip"])


def test_the_kernel_is_asked_without_making_anything() -> None:
    before = sh("ip -o link")
    assert has_kind("ipip")
    assert sh("ip -o link") == before


def test_it_goes_once_and_a_second_time() -> None:
    table = LinkTable(SCOPE)
    put(WANTED)
    for _round in range(2):
        assert table.apply([Change(WANTED.key, WANTED, None)]) == {}
        assert "flannel.ipip" not in table.dump()
