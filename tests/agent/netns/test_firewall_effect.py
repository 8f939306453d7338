# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rules do to packets (spec 6.1), by the source address that arrives: iptables and nftables, both families."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Callable, Iterator, List

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
)
from flanneld.firewall import (
    make_firewall_tables,
)
from flanneld.plan import FIREWALL
from flanneld.reconciler import Reconciler
from flanneld.tables import programs
from flanneld.tables.iptables import IptablesTable
from flanneld.tables.nftables import NftablesTable
from flanneld.tables.opening import OpeningTable

from tests.support.firewall import INSTANCE, MAKERS, SCOPE, policy, set_up
from tests.support.router import PLANS, Plan, Router, inside

TABLES = (IptablesTable, NftablesTable)
SPARED = tuple(ip_network(plan.spared) for plan in PLANS.values())


@pytest.fixture(scope="module")
def plain_router(private_namespaces: None) -> Iterator[Router]:
    with Router() as router:
        yield router


@pytest.fixture
def router(plain_router: Router) -> Iterator[Router]:
    """Without any rule, before and after."""
    yield plain_router
    plain_router.host.execute("nft", "flush", "ruleset")


@pytest.fixture(params=FAMILIES, ids=[family.name for family in FAMILIES])
def plan(request: pytest.FixtureRequest) -> Plan:
    return PLANS[request.param]


@pytest.fixture(params=sorted(MAKERS))
def manager(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ruled(router: Router, manager: str) -> Router:
    set_up(router, manager, *(policy(family, spared=SPARED) for family in FAMILIES))
    return router


def test_container_to_outside_is_masqueraded(ruled: Router, plan: Plan) -> None:
    assert ruled.sources_seen(ruled.container, plan.container, ruled.outside, plan.outside) == [plan.host]


def test_container_to_a_spared_destination_is_not(ruled: Router, plan: Plan) -> None:
    seen = ruled.sources_seen(ruled.container, plan.container, ruled.outside, plan.spared)
    assert seen == [plan.container]


def test_container_to_container_of_another_node_is_not(ruled: Router, plan: Plan) -> None:
    seen = ruled.sources_seen(ruled.container, plan.container, ruled.node, plan.node_container)
    assert seen == [plan.container]


def test_container_of_another_node_to_ours_is_not(ruled: Router, plan: Plan) -> None:
    seen = ruled.sources_seen(ruled.node, plan.node_container, ruled.container, plan.container)
    assert seen == [plan.node_container]


def test_outside_to_our_container_is_not(ruled: Router, plan: Plan) -> None:
    seen = ruled.sources_seen(ruled.outside, plan.outside, ruled.container, plan.container)
    assert seen == [plan.outside]


def test_a21_host_to_container_of_another_node_is_masqueraded(ruled: Router, plan: Plan) -> None:
    """From an address that the other node has no way back to."""
    seen = ruled.sources_seen(ruled.host, plan.host_elsewhere, ruled.node, plan.node_container)
    assert seen == [plan.host]


def test_host_to_own_container_is_not_masqueraded(ruled: Router, plan: Plan) -> None:
    seen = ruled.sources_seen(ruled.host, plan.host_elsewhere, ruled.container, plan.container)
    assert seen == [plan.host_elsewhere]


def test_multicast_is_not_masqueraded(ruled: Router, plan: Plan) -> None:
    assert ruled.multicast_sources_seen(plan) == [plan.bridge]


@pytest.mark.parametrize(("mark", "masqueraded"), [("0x4000", False), ("0x14001", False), ("0x8000", True)])
def test_a21_the_mark_is_compared_under_its_mask(
    ruled: Router, plan: Plan, mark: str, masqueraded: bool
) -> None:
    """kube-proxy masquerades what it marked itself; other bits of the mark are others' business."""
    ip = "ip" if plan.version == 4 else "ip6"
    ruled.host.execute("nft", f"add table {ip} other")
    ruled.host.execute("nft", f"add chain {ip} other before {{ type filter hook forward priority -10; }}")
    ruled.host.execute("nft", f"add rule {ip} other before meta mark set {mark}")
    seen = ruled.sources_seen(ruled.container, plan.container, ruled.outside, plan.outside)
    assert seen == [plan.host if masqueraded else plan.container]


def test_without_masquerading_containers_show_their_address(router: Router, manager: str, plan: Plan) -> None:
    set_up(router, manager, *(policy(family, masquerade=False) for family in FAMILIES))
    seen = router.sources_seen(router.container, plan.container, router.outside, plan.outside)
    assert seen == [plan.container]


@pytest.mark.parametrize("others", ["iptables", "nftables"])
def test_what_others_masquerade_keeps_its_source(
    router: Router, manager: str, plan: Plan, others: str
) -> None:
    """netavark, which makes podman's networks, masquerades whatever leaves its subnet, and comes later than we do. By
    iptables in version 1.4; nftables, at the same priority, stands for others."""
    there = (router.container, plan.container, router.node, plan.node_container)
    set_up(router, manager, *(policy(family, spared=SPARED) for family in FAMILIES))
    masquerade_as_netavark(router, plan, others)
    assert router.sources_seen(*there) == [plan.host], "without it"
    policies = (replace(policy(family, spared=SPARED), keep_source=True) for family in FAMILIES)
    set_up(router, manager, *policies)
    assert router.sources_seen(*there) == [plan.container]
    assert router.sources_seen(router.container, plan.container, router.outside, plan.spared) == [
        plan.container
    ]
    assert router.sources_seen(router.container, plan.container, router.outside, plan.outside) == [plan.host]


def masquerade_as_netavark(router: Router, plan: Plan, manager: str) -> None:
    """With iptables as netavark 1.4 does for a network with our subnet, with nftables the same."""
    subnet = str(plan.subnet)
    if manager == "iptables":
        iptables = ("iptables" if plan.version == 4 else "ip6tables", "-t", "nat")
        router.host.execute(*iptables, "-N", "NETAVARK-1")
        router.host.execute(*iptables, "-A", "NETAVARK-1", "-d", subnet, "-j", "ACCEPT")
        router.host.execute(*iptables, "-A", "NETAVARK-1", "-j", "MASQUERADE")
        router.host.execute(*iptables, "-A", "POSTROUTING", "-s", subnet, "-j", "NETAVARK-1")
        return
    ip = "ip" if plan.version == 4 else "ip6"
    router.host.execute("nft", "add table inet netavark")
    router.host.execute(
        "nft", "add chain inet netavark POSTROUTING { type nat hook postrouting priority srcnat; }"
    )
    router.host.execute(
        "nft", f"add rule inet netavark POSTROUTING {ip} saddr {subnet} {ip} daddr != {subnet} masquerade"
    )


def test_a_container_reaches_a_port_that_its_own_host_publishes(
    router: Router, manager: str, plan: Plan
) -> None:
    """Whoever publishes it masquerades the way through the host, so that the answer takes it, too. The container is its
    own neighbour here: a packet from its own address would not be taken."""
    policies = (replace(policy(family), keep_source=True) for family in FAMILIES)
    set_up(router, manager, *policies)
    ip = "ip" if plan.version == 4 else "ip6"
    router.host.ip("link set port type bridge_slave hairpin on")
    for chain, rule in (
        ("prerouting", f"{ip} daddr {plan.host} dnat to {plan.container}"),
        ("postrouting", f"{ip} saddr {plan.subnet} {ip} daddr {plan.subnet} ct status dnat masquerade"),
    ):
        priority = -100 if chain == "prerouting" else 100
        router.host.execute("nft", f"add table {ip} publisher")
        router.host.execute(
            "nft", f"add chain {ip} publisher {chain} {{ type nat hook {chain} priority {priority}; }}"
        )
        router.host.execute("nft", f"add rule {ip} publisher {chain} {rule}")
    there = (router.container, plan.container, router.container, plan.container)
    assert router.sources_seen(*there, published_as=plan.host) == [plan.bridge]


def test_a_forward_policy_of_drop_lets_the_containers_through(
    router: Router, manager: str, plan: Plan
) -> None:
    iptables = "iptables" if plan.version == 4 else "ip6tables"
    router.host.execute(iptables, "-P", "FORWARD", "DROP")
    there = (router.container, plan.container, router.node, plan.node_container)
    back = (router.node, plan.node_container, router.container, plan.container)
    assert router.is_cut_off(*there), "without our rules"
    set_up(router, manager, *(policy(family) for family in FAMILIES))
    assert router.sources_seen(*there) == [plan.container]
    assert router.sources_seen(*back) == [plan.node_container]


def test_nftables_opens_iptables_only_while_its_policy_is_drop(router: Router, plan: Plan) -> None:
    """Docker starts after us, sets the policy, and is removed again."""
    iptables = "iptables" if plan.version == 4 else "ip6tables"
    there = (router.container, plan.container, router.node, plan.node_container)
    reconciler = set_up(router, "nftables", *(policy(family) for family in FAMILIES))
    assert "FLANNEL" not in router.host.execute("nft", "list", "ruleset")

    def check() -> str:
        reconciler.mark(OpeningTable.name)
        assert inside(router.host, reconciler.reconcile) is None
        return router.host.execute(iptables, "-S")

    router.host.execute(iptables, "-P", "FORWARD", "DROP")
    router.host.execute(iptables, "-I", "FORWARD", "-o", "docker0", "-j", "DROP")
    assert router.is_cut_off(*there)
    assert f"-A FLANNEL-FWD -s {plan.network}" in check()
    assert router.sources_seen(*there) == [plan.container]
    router.host.execute(iptables, "-F", "FORWARD")
    check()
    assert router.sources_seen(*there) == [plan.container]
    router.host.execute(iptables, "-P", "FORWARD", "ACCEPT")
    assert "FLANNEL" not in check()
    assert router.sources_seen(*there) == [plan.container]


def test_without_forward_rules_a_policy_of_drop_stands(router: Router, manager: str, plan: Plan) -> None:
    iptables = "iptables" if plan.version == 4 else "ip6tables"
    router.host.execute(iptables, "-P", "FORWARD", "DROP")
    set_up(router, manager, *(policy(family, forward=False) for family in FAMILIES))
    assert router.is_cut_off(router.container, plan.container, router.node, plan.node_container)


def test_the_rules_of_one_family_are_complete_without_the_other(router: Router, manager: str) -> None:
    set_up(router, manager, policy(IPV4))
    plan = PLANS[IPV4]
    assert router.sources_seen(router.container, plan.container, router.outside, plan.outside) == [plan.host]


@pytest.mark.parametrize("forward_policy", ["ACCEPT", "DROP"])
def test_a22_from_one_manager_to_the_other_to_none_and_nothing_stays(
    router: Router, plan: Plan, forward_policy: str
) -> None:
    iptables = "iptables" if plan.version == 4 else "ip6tables"
    router.host.execute(iptables, "-P", "FORWARD", forward_policy)
    everything = [policy(family) for family in FAMILIES]
    there = (router.container, plan.container, router.outside, plan.outside)
    for manager, gone in (
        ("iptables", "table ip flannel"),
        ("nftables", "FLANNEL-POSTRTG"),
        ("iptables", "table ip flannel"),
        ("nftables", "FLANNEL-POSTRTG"),
    ):
        set_up(router, manager, *everything)
        ruleset = router.host.execute("nft", "list", "ruleset")
        assert gone not in ruleset
        assert ("FLANNEL-FWD" in ruleset) == (manager == "iptables" or forward_policy == "DROP")
        assert router.sources_seen(*there) == [plan.host]
    set_up(router, "iptables")
    left = router.host.execute("nft", "list", "ruleset")
    assert "flannel" not in left.lower()


def test_a_family_that_was_turned_off_leaves_nothing(router: Router, manager: str) -> None:
    set_up(router, manager, *(policy(family) for family in FAMILIES))
    set_up(router, manager, policy(IPV4))
    left = router.host.execute("nft", "list", "ruleset", "ip6")
    assert "flannel" not in left.lower()
    plan = PLANS[IPV4]
    assert router.sources_seen(router.container, plan.container, router.outside, plan.outside) == [plan.host]


def test_a21_nftables_needs_no_iptables(
    router: Router, plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A host with nothing but nft; upstream cannot start there."""
    (tmp_path / "nft").symlink_to(str(shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")))
    monkeypatch.setattr(programs, "SEARCH", os.fspath(tmp_path))
    set_up(router, "nftables", *(policy(family) for family in FAMILIES))
    seen = router.sources_seen(router.container, plan.container, router.outside, plan.outside)
    assert seen == [plan.host]


def test_a23_without_its_program_the_problem_stands_in_both_lives_and_ends_with_it(
    router: Router, manager: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = [thing for family in FAMILIES for thing in MAKERS[manager](INSTANCE, policy(family))]
    ours = {(table.name, thing.key) for thing in wanted for table in TABLES if isinstance(thing, table.kinds)}
    now = [0.0]
    for _life in range(2):
        with monkeypatch.context() as without:
            without.setattr(programs, "SEARCH", os.fspath(tmp_path))
            reconciler = Reconciler(make_firewall_tables(INSTANCE, SCOPE, wanted), clock=lambda: now[0])
            reconciler.want("us", wanted)
            reconciler.allow_removal()
            assert inside(router.host, reconciler.reconcile) is not None
            problems = reconciler.problems()
            assert set(problems) == ours
            assert all("is not installed; install the package" in str(error) for error in problems.values())
    now[0] += 3600.0
    assert inside(router.host, reconciler.reconcile) is None
    assert reconciler.settled


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], List[str]]:
    """The programs that were started since the last call, by name; they do what they always do."""
    record = tmp_path / "calls"
    for name in ("nft", "iptables-save", "ip6tables-save", "iptables-restore", "ip6tables-restore"):
        program = tmp_path / name
        real = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin")
        program.write_text(f'#!/bin/sh\necho {name} >> {record}\nexec {real} "$@"\n', encoding="ascii")
        program.chmod(0o755)
    monkeypatch.setattr(programs, "SEARCH", os.fspath(tmp_path))

    def take() -> List[str]:
        lines = sorted(record.read_text(encoding="ascii").split()) if record.exists() else []
        record.unlink(missing_ok=True)
        return lines

    return take


@pytest.mark.parametrize(
    ("firewall", "expected"),
    [
        ("iptables", ["ip6tables-save", "iptables-save"]),
        ("nftables", ["ip6tables-save", "iptables-save", "nft", "nft"]),
        ("none", []),
    ],
)
def test_a_periodic_check_costs_a_process_for_each_family_of_what_is_in_use(
    router: Router, calls: Callable[[], List[str]], firewall: str, expected: List[str]
) -> None:
    """With nftables, iptables is asked, too, whether its policy of FORWARD lets packets through."""
    families = () if firewall == "none" else FAMILIES
    reconciler = set_up(router, firewall, *(policy(family) for family in families))
    calls()
    for name in FIREWALL:
        reconciler.mark(name)
    assert inside(router.host, reconciler.reconcile) is None
    assert calls() == expected


def write_by_nft(router: Router, ip: str) -> None:
    """An operator who wrote the tables nat and filter with nft."""
    for table, chain, hook in (
        ("nat", "POSTROUTING", "type nat hook postrouting priority 100"),
        ("filter", "FORWARD", "type filter hook forward priority 0"),
    ):
        router.host.execute("nft", f"add table {ip} {table}")
        router.host.execute("nft", f"add chain {ip} {table} {chain} {{ {hook}; }}")
        router.host.execute("nft", f"add rule {ip} {table} {chain} ct state established,related accept")


def test_a_family_that_iptables_cannot_read_leaves_the_other_alone(router: Router) -> None:
    write_by_nft(router, "ip6")
    operators = router.host.execute("nft", "list", "ruleset", "ip6")
    wanted = [thing for family in FAMILIES for thing in MAKERS["iptables"](INSTANCE, policy(family))]
    reconciler = Reconciler(make_firewall_tables(INSTANCE, SCOPE, wanted))
    reconciler.want("us", wanted)
    reconciler.allow_removal()
    assert inside(router.host, reconciler.reconcile) is not None, "it is tried again"
    problems = reconciler.problems()
    assert set(problems) == {(IptablesTable.name, thing.key) for thing in wanted if thing.key[0] == "ipv6"}
    assert all("ip6tables table " in str(error) for error in problems.values())
    plan = PLANS[IPV4]
    assert router.sources_seen(router.container, plan.container, router.outside, plan.outside) == [plan.host]
    assert router.host.execute("nft", "list", "ruleset", "ip6") == operators


def test_rules_that_iptables_cannot_read_are_no_business_of_nftables(
    router: Router, plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    for ip in ("ip", "ip6"):
        write_by_nft(router, ip)
    with caplog.at_level("INFO"):
        reconciler = set_up(router, "nftables", *(policy(family) for family in FAMILIES))
        reconciler.mark_all()
        assert inside(router.host, reconciler.reconcile) is None
    assert reconciler.problems() == {}
    said = [line for line in caplog.messages if "cannot show" in line]
    assert len(said) == len(set(said)) > 0, "once"
    seen = router.sources_seen(router.container, plan.container, router.outside, plan.outside)
    assert seen == [plan.host]
