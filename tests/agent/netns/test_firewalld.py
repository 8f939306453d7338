# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real firewalld reloads; what it flushes of ours comes back by notification, and traffic shows it."""

from __future__ import annotations

import queue
import re
import threading
from ipaddress import ip_network
from pathlib import Path
from typing import Iterator

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES
from flanneld.tables.forwarding import find_forward_drops
from flanneld.tables.iptables import IptablesTable
from flanneld.tables.nftables import NftablesTable
from flanneld.tables.notifications import FirewallTouched, watch_netfilter
from flanneld.tables.verdicts import Flow

from tests.support.firewall import policy, set_up
from tests.support.firewalld import INSTALLED, Firewalld
from tests.support.router import PLANS, Router, inside
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.skipif(not INSTALLED, reason="firewalld is not installed")
TABLES = (IptablesTable.name, NftablesTable.name)


@pytest.fixture
def router(private_namespaces: None) -> Iterator[Router]:
    with Router() as router:
        yield router


@pytest.fixture(params=["nftables", "iptables"], ids=["firewalld-nftables", "firewalld-iptables"])
def firewalld(request: pytest.FixtureRequest, router: Router, tmp_path: Path) -> Iterator[Firewalld]:
    with Firewalld(router.host, tmp_path, request.param) as firewalld:
        yield firewalld


@pytest.mark.parametrize("manager", ["iptables", "nftables"])
def test_a_reload_is_survived(router: Router, firewalld: Firewalld, manager: str) -> None:
    reconciler = set_up(router, manager, *(policy(family) for family in FAMILIES))
    rules = our_rules(router)
    notices: queue.SimpleQueue[object] = queue.SimpleQueue()
    stop = threading.Event()
    watcher = threading.Thread(target=lambda: inside(router.host, lambda: watch_netfilter(notices.put, stop)))
    watcher.start()
    try:
        firewalld.reload()
        flushed = our_rules(router) != rules
        assert flushed == (manager == "iptables"), "tables of our own are not its business"
        while our_rules(router) != rules:
            assert isinstance(notices.get(timeout=PATIENCE), FirewallTouched)
            for table in TABLES:
                reconciler.mark(table)
            assert inside(router.host, reconciler.reconcile) is None
    finally:
        stop.set()
        watcher.join()
    for plan in PLANS.values():
        there = (router.container, plan.container, router.outside, plan.outside)
        assert router.sources_seen(*there) == [plan.host]
        back = (router.node, plan.node_container, router.container, plan.container)
        assert router.sources_seen(*back) == [plan.node_container]


def test_check_is_content_once_bridge_and_device_are_in_a_zone_that_forwards(
    router: Router, tmp_path: Path
) -> None:
    flows = tuple(Flow(device, ip_network("10.5.0.0/16")) for device in ("flannel.1", "docker0"))
    with Firewalld(router.host, tmp_path, "nftables") as firewalld:
        firewalld.command("--set-default-zone=public")
        (drop,) = inside(router.host, lambda: find_forward_drops(flows))
        asked = re.search(r"firewall-cmd (--permanent [^,]*),", drop.next_step)
        assert asked is not None
        firewalld.command(*asked[1].split())
        firewalld.reload()
        assert inside(router.host, lambda: find_forward_drops(flows)) == ()


def our_rules(router: Router) -> list[str]:
    """Every line about us, in both families; chains, rules and jumps."""
    lines = router.host.execute("nft", "--stateless", "list", "ruleset").splitlines()
    return [line for line in lines if "flannel" in line.lower() or "10.5." in line or "fd05:" in line]
