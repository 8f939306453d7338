# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcd holds: the network config, the pool, and who holds what."""

from __future__ import annotations

from collections import defaultdict
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    Network,
    count_free,
)

from flanneld.commands.checks import FAIL, WARN, Check, Finding
from flanneld.commands.facts import Facts, StoreFacts
from flanneld.commands.status_text import format_seconds

_FEW = 0.1
_Placed = Tuple[int, int, Network, str]  # first address, minus the size, subnet, key of its lease


def check_store(facts: Facts) -> Iterator[Finding]:
    error = facts.store_error
    if error is not None:
        yield Finding(FAIL, f"{error.subject}: {error.cause}", error.next_step)


def check_config(facts: Facts) -> Iterator[Finding]:
    """`Couldn't fetch network config` every second: missing, another prefix, the v2 API, not valid."""
    store = _require(facts)
    key = facts.settings.options.layout.config
    if store.config is None:
        if store.elsewhere:
            step = f"correct the prefix: --etcd-prefix={store.elsewhere[0]}, or write the config to {key}"
            yield Finding(FAIL, f"{key} does not exist, but {', '.join(store.elsewhere)} has a config", step)
            return
        step = (
            "write it with weft.flannel.flannel_network. A config written through etcd's v2 API (etcdctl without "
            "ETCDCTL_API=3) cannot be seen by any v3 reader: write it again"
        )
        yield Finding(FAIL, f"{key} does not exist", step)
    elif facts.config_error is not None:
        yield Finding(FAIL, f"{key}: {facts.config_error.cause}", facts.config_error.next_step)
    elif facts.config is not None and facts.config.backend_was_absent:
        step = "write Backend.Type into the network config; upstream's documentation says vxlan, its code does udp"
        yield Finding(WARN, f"{key} names no backend, which means udp", step)


def check_public_ips(facts: Facts) -> Iterator[Finding]:
    """All hosts show the same FLANNEL_SUBNET: they have one public IP (a NAT interface, Vagrant's 10.0.2.15)."""
    store = _require(facts)
    holders: Dict[str, List[str]] = defaultdict(list)
    for lease in store.leases:
        for address in map(lease.attributes.public_address, FAMILIES):
            if address is not None:
                holders[str(address)].append(lease.key)
    live: Dict[str, List[str]] = defaultdict(list)
    for node in store.nodes:
        for address in map(node.public_address, FAMILIES):
            if address is not None:
                live[str(address)].append(f"{node.host} (id {node.id})")
    step = (
        "give each host a public IP of its own: --iface or --public-ip; a cloned image needs a new machine-id"
    )
    for text in sorted({*holders, *live}):
        if len(live[text]) > 1:
            yield Finding(FAIL, f"{text} is published by live hosts {' and '.join(live[text])}", step)
        elif len(holders[text]) > 1:
            yield Finding(
                WARN, f"{text} is in leases {' and '.join(map(facts.name_host, holders[text]))}", step
            )


def check_overlaps(facts: Facts) -> Iterator[Finding]:
    step = "the older lease counts; stop the agent of the younger one, delete its key, start it again"
    for family in FAMILIES:
        found = [(lease.subnets.of(family), lease.key) for lease in _require(facts).leases]
        subnets = sorted((int(net[0]), -net.num_addresses, net, key) for net, key in found if net is not None)
        for (_start, _size, wide, one), (_start2, _size2, narrow, other) in _find_nested(subnets):
            names = f"{facts.name_host(one)} and {facts.name_host(other)}"
            yield Finding(FAIL, f"leases {names} overlap ({wide}, {narrow})", step)


def _find_nested(subnets: Sequence[_Placed]) -> Iterator[Tuple[_Placed, _Placed]]:
    """Pairs of subnets of which one is inside the other. subnets: sorted, of equal starts the wider one first."""
    wide: Optional[_Placed] = None
    for placed in subnets:
        if wide is not None and placed[0] <= int(wide[2][-1]):
            yield wide, placed
        else:
            wide = placed


def check_bad_leases(facts: Facts) -> Iterator[Finding]:
    for bad in _require(facts).bad_leases:
        yield Finding(
            WARN, f"{bad.key} is no lease: {bad.reason}", "delete the key, if nobody knows what it is for"
        )


def check_pool(facts: Facts) -> Iterator[Finding]:
    """`out of subnets`: the pool is too small, or full of leases of hosts that are gone."""
    store, config = _require(facts), facts.config
    for pool in map(config.pool, config.families) if config is not None else ():
        if pool is None:
            continue
        taken = [subnet for subnet in (lease.subnets.of(pool.family) for lease in store.leases) if subnet]
        free = count_free(pool, taken)
        if free > pool.slots * _FEW:
            continue
        live = {node.subnet for node in store.nodes}
        gone = [lease.key for lease in store.leases if lease.key not in live and not lease.is_reservation]
        reserved = sum(lease.is_reservation for lease in store.leases)
        ends = [store.lifetimes[key] for key in gone if key in store.lifetimes]
        soon = f" (the next ends in {format_seconds(min(ends))})" if ends else ""
        cause = (
            f"{free} of {pool.slots} subnets of {pool.network} are free; {reserved} reservations, "
            f"{len(gone)} leases without a live host of ours{soon}"
        )
        step = "delete leases of hosts that are gone, or widen the pool (SubnetMin, SubnetMax, Network)"
        yield Finding(WARN if free else FAIL, cause, step)


def check_own_lease(facts: Facts) -> Iterator[Finding]:
    """It works until 24 hours have passed: renewals have stopped, the lease expires."""
    if not facts.own_key:
        yield Finding(FAIL, "this host has no lease yet", "see what the agent waits for: flanneld status")
        return
    lease = facts.own_lease
    unit = facts.settings.instance.unit
    if lease is None:
        step = f"restart the agent: systemctl restart {unit}; the data path stays"
        yield Finding(FAIL, f"our lease {facts.own_key} is not in the store", step)
        return
    left = _require(facts).lifetimes.get(lease.key)
    options = facts.settings.options
    margin = options.subnet_lease_renew_margin * 60
    if left is None or left >= options.subnet_lease_ttl / 2:
        return
    step = f"see why it is not renewed: flanneld status, journalctl -u {unit}; restart the agent"
    cause = f"our lease {lease.key} ends in {format_seconds(left)} and has not been renewed for more than half its time"
    yield Finding(FAIL if left < min(margin, options.subnet_lease_ttl / 4) else WARN, cause, step)


def check_own_address(facts: Facts) -> Iterator[Finding]:
    """Our lease publishes an address that this host does not choose any more."""
    lease, report = facts.own_lease, facts.report
    if lease is None or report is None or report.interface is None:
        return
    for family, ours in zip(FAMILIES, (report.interface.public_ip, report.interface.public_ipv6)):
        published = lease.attributes.public_address(family)
        if ours and published is not None and str(published) != ours:
            cause = f"our lease publishes {published}, and this host is {ours}"
            yield Finding(
                FAIL,
                cause,
                "restart the agent; if it stays so, another host writes our key: compare status there",
            )


def _require(facts: Facts) -> StoreFacts:
    assert facts.store is not None, "a check that needs the store is not run without it"
    return facts.store


CHECKS = (
    Check("etcd answers and lets us in", check_store),
    Check("network config", check_config, needs_store=True),
    Check("a public IP belongs to one host", check_public_ips, needs_store=True),
    Check("leases do not overlap", check_overlaps, needs_store=True),
    Check("keys below subnets/ are leases", check_bad_leases, needs_store=True),
    Check("free subnets", check_pool, needs_store=True),
    Check("our lease is renewed", check_own_lease, needs_store=True),
    Check("our lease says who we are", check_own_address, needs_store=True, needs_agent=True),
)
