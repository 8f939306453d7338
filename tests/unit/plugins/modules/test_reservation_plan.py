# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What flannel_reservation and flannel_lease plan to do, from what etcd holds and what is asked for."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._change import DisruptionRefused
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    ConfigError,
    FlannelError,
    OptionError,
    SubnetTaken,
)
from ansible_collections.weft.flannel.plugins.module_utils._holders import Holders, name_lease
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Layout,
    Lease,
    format_key,
    parse_key,
    parse_value,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease_change import Plan, read_ttl, refuse_cuts
from ansible_collections.weft.flannel.plugins.module_utils._lease_request import (
    REQUEST_SPEC,
    Request,
    read_request,
)
from ansible_collections.weft.flannel.plugins.module_utils._network import BadLease, StoredNetwork
from ansible_collections.weft.flannel.plugins.module_utils._node import NodeEntry
from ansible_collections.weft.flannel.plugins.module_utils._reservation import (
    plan_absent,
    plan_lease_state,
    plan_present,
    plan_unchecked,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue
from ansible_collections.weft.flannel.plugins.module_utils._subnet import parse_ipv4, parse_ipv6

LAYOUT = Layout.from_prefix("/coreos.com/network")
V4 = '{"Network":"10.5.0.0/16","SubnetMax":"10.5.200.0","Backend":{"Type":"vxlan"}}'
DUAL = '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}'
V6 = '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}'
PARTNER = "&fd00:5:0:1::-64"


def make_lease(key: str, number: int, *, lease_id: int = 7, backend: str = "vxlan", born: int = 5) -> Lease:
    """A lease of host `number`; without lease_id a reservation, without backend as an operator writes it."""
    backend_member = f',"BackendType":"{backend}"' if backend else ""
    value = f'{{"PublicIP":"192.0.2.{number}","PublicIPv6":"2001:db8::{number}"{backend_member}}}'
    return Lease(parse_key(key), parse_value(value), born, born, lease_id)


def reservation(key: str, number: int, *, backend: str = "") -> Lease:
    return make_lease(key, number, lease_id=0, backend=backend)


def node(number: int, subnet: str = "") -> NodeEntry:
    return NodeEntry(
        f"{number:032x}",
        "boot",
        f"n{number}",
        parse_ipv4(f"192.0.2.{number}"),
        parse_ipv6(f"2001:db8::{number}"),
        subnet,
    )


def make_holders(
    *leases: Lease, text: Optional[str] = V4, nodes: Tuple[NodeEntry, ...] = (), bad: str = ""
) -> Holders:
    item = None if text is None else KeyValue(LAYOUT.config, text.encode(), 3, 5, 2, 0)
    bad_leases = (BadLease(LAYOUT.subnets + bad, "it holds no JSON"),) if bad else ()
    return Holders(StoredNetwork(item, leases, bad_leases), nodes)


def make_params(**given: Any) -> Dict[str, Any]:
    return {**dict.fromkeys(REQUEST_SPEC), **given}


def make_request(**given: Any) -> Request:
    return read_request(make_params(**given))


def namer(holders: Holders) -> Any:
    return lambda lease: name_lease(LAYOUT, holders, lease, None if lease.is_reservation else 512)


def present(holders: Holders, **given: Any) -> Plan:
    return plan_present(holders, LAYOUT, make_request(**given), namer(holders))


def absent(holders: Holders, **given: Any) -> Plan:
    return plan_absent(holders, make_request(**given), namer(holders))


def bring_to(holders: Holders, state: str, **given: Any) -> Plan:
    return plan_lease_state(holders, LAYOUT, make_request(**given), state, namer(holders))


def show(plan: Plan) -> Dict[str, str]:
    """What becomes of each key."""
    return {
        format_key(step.subnets): "gone"
        if step.after is None
        else ("reservation" if step.after.reservation else "lease") + f" of {step.after.attributes.public_ip}"
        for step in plan.steps
    }


# --- options


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"subnet": "10.5.34.7/24"},
            '"10.5.34.7/24" is not on a boundary: no /24 begins there; write 10.5.34.0/24',
        ),
        (
            {"subnet": "10.5.34.0"},
            'option subnet: "10.5.34.0": invalid CIDR address; write a network such as',
        ),
        ({"subnet": "fd00:5::/64"}, "option subnet:"),
        ({"ipv6_subnet": "fd00:5:0:1::1/64"}, "write fd00:5:0:1::/64"),
        ({"public_ip": "node1"}, 'option public_ip: "node1": invalid IP address format'),
        (
            {"public_ip": "0.0.0.0"},
            'option public_ip: "0.0.0.0" cannot be the address of a host (unspecified)',
        ),
        ({"public_ipv6": "::1"}, "loopback"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(given: Dict[str, str], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        make_request(**given)
    assert message in str(caught.value)


@pytest.mark.parametrize("ttl", [-1, 0, 59, 10**10])
def test_a_time_to_live_that_cannot_work(ttl: int) -> None:
    with pytest.raises(OptionError, match=f"option ttl: {ttl} is outside"):
        read_ttl({"ttl": ttl})


# --- reservations


def test_a_free_subnet_for_a_host_that_is_still_to_come() -> None:
    plan = present(make_holders(make_lease("10.5.1.0-24", 9)), subnet="10.5.34.0/24", public_ip="192.0.2.1")
    assert show(plan) == {"10.5.34.0-24": "reservation of 192.0.2.1"}
    assert plan.cuts == plan.warnings == ()
    assert plan.lease is not None
    assert plan.lease.is_reservation


def test_the_lease_of_the_host_is_adopted_with_all_that_it_says() -> None:
    lease = make_lease("10.5.34.0-24", 1)
    for given in ({}, {"subnet": "10.5.34.0/24"}):
        plan = present(make_holders(lease, nodes=(node(1, lease.key),)), public_ip="192.0.2.1", **given)
        (step,) = plan.steps
        assert (step.before, step.after.attributes, step.after.reservation) == (lease, lease.attributes, True)
        assert plan.cuts == plan.warnings == ()


def test_who_runs_upstream_is_told_what_that_does() -> None:
    plan = present(make_holders(make_lease("10.5.34.0-24", 1)), public_ip="192.0.2.1")
    assert "makes an ordinary lease of each reservation" in plan.warnings[0]


@pytest.mark.parametrize("backend", ["", "vxlan"])
def test_a_reservation_that_is_there_is_left_alone(backend: str) -> None:
    held = make_holders(reservation("10.5.34.0-24", 1, backend=backend))
    plan = present(held, subnet="10.5.34.0/24", public_ip="192.0.2.1")
    assert plan.steps == ()
    assert plan.lease == held.stored.leases[0]


def test_an_untaken_reservation_gets_the_address_that_it_lacks() -> None:
    old = Lease(parse_key("10.5.34.0-24" + PARTNER), parse_value('{"PublicIP":"192.0.2.1"}'), 5, 5, 0)
    plan = present(make_holders(old, text=DUAL), public_ip="192.0.2.1", public_ipv6="2001:db8::1")
    (step,) = plan.steps
    assert str(step.after.attributes.public_ipv6) == "2001:db8::1"


def test_by_node_id_the_addresses_of_the_node_are_taken() -> None:
    holders = make_holders(nodes=(node(1), node(2)))
    plan = present(holders, subnet="10.5.34.0/24", node_id=node(2).id)
    assert show(plan) == {"10.5.34.0-24": "reservation of 192.0.2.2"}
    with pytest.raises(
        OptionError, match=r'no node "ff" is up; start flanneld on that host.*up are: .*n1.*n2'
    ):
        present(holders, subnet="10.5.34.0/24", node_id="ff")
    with pytest.raises(OptionError, match=r"192\.0\.2\.1 is not the address of node"):
        present(holders, subnet="10.5.34.0/24", node_id=node(2).id, public_ip="192.0.2.1")


@pytest.mark.parametrize(
    ("holders", "cause"),
    [
        (
            make_holders(make_lease("10.5.34.0-24", 2), nodes=(node(2, "10.5.34.0-24"),)),
            'it overlaps the lease /coreos.com/network/subnets/10.5.34.0-24 of host "n2" (address 192.0.2.2 and '
            "2001:db8::2",
        ),
        (
            make_holders(make_lease("10.5.34.0-24", 2)),
            "public IP 192.0.2.2 and 2001:db8::2, which no node entry has, 512 seconds left",
        ),
        (make_holders(make_lease("10.5.32.0-22", 2)), "subnets/10.5.32.0-22"),
        (make_holders(reservation("10.5.34.0-24", 2)), "it overlaps the reservation"),
        (make_holders(bad="10.5.34.0-24"), "it holds no JSON"),
        (make_holders(nodes=(node(2, "10.5.34.0-24"),)), 'host "n2"'),
    ],
    ids=["held", "no node", "wider", "reserved", "unreadable", "lost by the store"],
)
def test_a_subnet_of_another_host_is_refused_and_the_holder_named(holders: Holders, cause: str) -> None:
    with pytest.raises(SubnetTaken) as caught:
        present(holders, subnet="10.5.34.0/24", public_ip="192.0.2.1")
    assert cause in caught.value.cause
    assert "choose another subnet" in caught.value.next_step


@pytest.mark.parametrize(("born", "refused"), [(4, True), (6, False)])
def test_of_two_that_overlap_the_older_wins(born: int, refused: bool) -> None:
    holders = make_holders(reservation("10.5.34.0-24", 1), make_lease("10.5.34.0-25", 2, born=born))
    if refused:
        with pytest.raises(SubnetTaken):
            present(holders, public_ip="192.0.2.1")
    else:
        assert present(holders, public_ip="192.0.2.1").steps == ()


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        (
            V4,
            {"subnet": "10.6.34.0/24"},
            "10.6.34.0/24: it does not lie in Network 10.5.0.0/16; choose a /24 from",
        ),
        (V4, {"subnet": "10.5.34.0/25"}, "SubnetLen is 24"),
        (V4, {"subnet": "10.5.0.0/24"}, "it lies before SubnetMin 10.5.1.0"),
        (V4, {"subnet": "10.5.201.0/24"}, "it lies behind SubnetMax 10.5.200.0"),
        (V4, {"subnet": "10.5.34.0/24", "ipv6_subnet": "fd00:5:0:1::/64"}, "turns IPv6 off; leave it out"),
        (
            DUAL,
            {"subnet": "10.5.34.0/24"},
            "option ipv6_subnet: it is not set, and the network config turns IPv6 on",
        ),
        (V4, {}, "option subnet: it is not set, and the host has no lease to keep"),
        (V4, {"subnet": "192.0.2.0/24"}, "option public_ip: 192.0.2.1 lies inside"),
    ],
)
def test_the_network_config_has_a_place_for_it_or_it_is_refused(
    text: str, given: Dict[str, str], message: str
) -> None:
    if given.get("subnet", "").startswith("192"):
        text = text.replace("10.5.0.0/16", "192.0.0.0/16").replace("10.5.200.0", "192.0.200.0")
    with pytest.raises(OptionError) as caught:
        present(make_holders(text=text), public_ip="192.0.2.1", **given)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", [None, '{"Network":"10.5.0.0/29"}', "junk"])
def test_without_a_usable_config_nothing_is_reserved(text: Optional[str]) -> None:
    with pytest.raises(ConfigError):
        present(make_holders(text=text), subnet="10.5.34.0/24", public_ip="192.0.2.1")


def test_in_dual_stack_the_partner_of_the_lease_stays() -> None:
    lease = make_lease("10.5.34.0-24" + PARTNER, 1)
    plan = present(make_holders(lease, text=DUAL), subnet="10.5.34.0/24", public_ip="192.0.2.1")
    assert show(plan) == {lease.key: "reservation of 192.0.2.1"}


def test_in_ipv6_alone_hosts_are_known_by_their_ipv6_address() -> None:
    plan = present(make_holders(text=V6), ipv6_subnet="fd00:5:0:1::/64", public_ipv6="2001:db8::1")
    assert list(show(plan)) == ["0.0.0.0-0" + PARTNER]
    with pytest.raises(OptionError, match="option public_ipv6: it is not set"):
        present(make_holders(text=V6), ipv6_subnet="fd00:5:0:1::/64", public_ip="192.0.2.1")


def test_a_host_is_not_renumbered_without_consent() -> None:
    holders = make_holders(make_lease("10.5.1.0-24", 1), nodes=(node(1, "10.5.1.0-24"),))
    plan = present(holders, subnet="10.5.34.0/24", public_ip="192.0.2.1")
    assert show(plan) == {"10.5.34.0-24": "reservation of 192.0.2.1"}, (
        "the lease it has stays until it leaves it"
    )
    with pytest.raises(
        DisruptionRefused, match=r'host "n1".*goes to 10.5.34.0-24 at its next start.*allow_disruptive'
    ):
        refuse_cuts(plan)


@pytest.mark.parametrize(
    ("backend", "nodes", "becomes", "cut"),
    [
        ("", (), "gone", False),
        ("vxlan", (), "lease of 192.0.2.1", True),
        ("", (node(1, "10.5.1.0-24"),), "lease of 192.0.2.1", True),
    ],
    ids=["untaken", "taken", "held by a host whose backend publishes nothing"],
)
def test_a_host_has_one_reservation(
    backend: str, nodes: Tuple[NodeEntry, ...], becomes: str, cut: bool
) -> None:
    holders = make_holders(reservation("10.5.1.0-24", 1, backend=backend), nodes=nodes)
    plan = present(holders, subnet="10.5.34.0/24", public_ip="192.0.2.1")
    assert show(plan) == {"10.5.34.0-24": "reservation of 192.0.2.1", "10.5.1.0-24": becomes}
    assert bool(plan.cuts) is cut


def test_a_lease_that_the_host_has_left_is_no_reason_to_ask() -> None:
    holders = make_holders(
        make_lease("10.5.1.0-24", 1), make_lease("10.5.34.0-24", 1), nodes=(node(1, "10.5.34.0-24"),)
    )
    plan = present(holders, public_ip="192.0.2.1")
    assert show(plan) == {"10.5.34.0-24": "reservation of 192.0.2.1"}, "what it holds now is kept"
    assert plan.cuts == ()


def test_two_leases_of_one_host_and_no_sign_which_one_it_holds() -> None:
    holders = make_holders(make_lease("10.5.1.0-24", 1), make_lease("10.5.34.0-24", 1))
    with pytest.raises(OptionError, match=r"several leases \(10.5.1.0-24, 10.5.34.0-24\); give the subnet"):
        present(holders, public_ip="192.0.2.1")


@pytest.mark.parametrize("given", [{"subnet": "10.5.34.0/24"}, {"public_ip": "192.0.2.1"}])
def test_absent(given: Dict[str, str]) -> None:
    assert absent(make_holders(make_lease("10.5.34.0-24", 1)), **given) == Plan(), "a lease is no reservation"
    assert show(absent(make_holders(reservation("10.5.34.0-24", 1)), **given)) == {"10.5.34.0-24": "gone"}
    plan = absent(make_holders(reservation("10.5.34.0-24", 1, backend="vxlan")), **given)
    assert show(plan) == {"10.5.34.0-24": "lease of 192.0.2.1"}
    assert plan.cuts == (), "the host keeps it"


def test_absent_does_not_end_the_reservation_of_another_host() -> None:
    with pytest.raises(SubnetTaken, match=r"it is of another host than asked for: .*192.0.2.2"):
        absent(make_holders(reservation("10.5.34.0-24", 2)), subnet="10.5.34.0/24", public_ip="192.0.2.1")


def test_in_check_mode_before_there_is_a_config() -> None:
    plan = plan_unchecked(make_request(subnet="10.5.34.0/24", public_ip="192.0.2.1"))
    assert show(plan) == {"10.5.34.0-24": "reservation of 192.0.2.1"}
    assert plan_unchecked(make_request(public_ip="192.0.2.1")) == Plan()


# --- leases


@pytest.mark.parametrize(
    "given", [{"subnet": "10.5.34.0/24"}, {"public_ip": "192.0.2.1"}, {"node_id": node(1).id}]
)
def test_a_lease_is_converted_back_and_forth(given: Dict[str, str]) -> None:
    nodes = (node(1, "10.5.34.0-24"),)
    lease, reserved = make_lease("10.5.34.0-24", 1), reservation("10.5.34.0-24", 1, backend="vxlan")
    assert show(bring_to(make_holders(lease, nodes=nodes), "reserved", **given)) == {
        "10.5.34.0-24": "reservation of 192.0.2.1"
    }
    assert show(bring_to(make_holders(reserved, nodes=nodes), "leased", **given)) == {
        "10.5.34.0-24": "lease of 192.0.2.1"
    }
    assert bring_to(make_holders(lease, nodes=nodes), "leased", **given).steps == ()
    assert bring_to(make_holders(reserved, nodes=nodes), "reserved", **given).steps == ()


@pytest.mark.parametrize(
    ("lease", "nodes", "cut", "warned"),
    [
        (make_lease("10.5.34.0-24", 1), (node(1, "10.5.34.0-24"),), True, True),
        (make_lease("10.5.34.0-24", 1), (), True, False),
        (make_lease("10.5.34.0-24", 1), (node(1),), True, False),
        (make_lease("10.5.34.0-24", 1), (node(1, "10.5.1.0-24"),), False, False),
        (reservation("10.5.34.0-24", 1), (), False, False),
        (reservation("10.5.34.0-24", 1, backend="vxlan"), (), True, False),
    ],
    ids=["held", "no node", "node without a lease", "left", "untaken reservation", "taken reservation"],
)
def test_a_lease_that_may_be_in_use_is_not_revoked_without_consent(
    lease: Lease, nodes: Tuple[NodeEntry, ...], cut: bool, warned: bool
) -> None:
    plan = bring_to(make_holders(lease, nodes=nodes), "absent", subnet="10.5.34.0/24")
    assert show(plan) == {"10.5.34.0-24": "gone"}
    assert (bool(plan.cuts), bool(plan.warnings)) == (cut, warned)


def test_no_lease_and_more_than_one() -> None:
    two = make_holders(make_lease("10.5.1.0-24", 1), make_lease("10.5.34.0-24", 1))
    assert bring_to(two, "absent", public_ip="192.0.2.9") == Plan()
    expectations = [("192.0.2.9", "there is none"), ("192.0.2.1", "there are 2: .*10.5.1.0-24.*10.5.34.0-24")]
    for address, message in expectations:
        with pytest.raises(FlannelError, match=f"lease with public_ip {address}: {message}"):
            bring_to(two, "reserved", public_ip=address)
