# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Changes of lease keys by an operator: planned, written only over what was read, looked at once more, and shown."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Protocol, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._change import (
    ATTEMPTS,
    DisruptionRefused,
    WriteConflict,
)
from ansible_collections.weft.flannel.plugins.module_utils._connection import connected_store
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    OptionError,
    StoreError,
    StoreLibraryMissing,
    SubnetTaken,
)
from ansible_collections.weft.flannel.plugins.module_utils._holders import (
    Holders,
    describe_held_lease,
    name_lease,
    read_holders,
    read_seconds_left,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Attributes,
    Layout,
    Lease,
    Subnets,
    format_value,
)
from ansible_collections.weft.flannel.plugins.module_utils._network import NOTHING_STORED
from ansible_collections.weft.flannel.plugins.module_utils._store import Store

TTL = 86400
"""Seconds that upstream grants a lease for (spec 2.4)."""
SHORTEST_TTL = 60
LONGEST_TTL = 9_000_000_000
"""More than that etcd refuses."""

CHANGE_SPEC: Mapping[str, Mapping[str, Any]] = {
    "allow_disruptive": {"type": "bool", "default": False},
    "ttl": {"type": "int", "default": TTL},
}


def read_ttl(params: Mapping[str, Any]) -> int:
    """The option ttl. Raises OptionError for one that etcd would not take, or that ends before anybody renews it."""
    ttl = int(params["ttl"])
    if not SHORTEST_TTL <= ttl <= LONGEST_TTL:
        raise OptionError(
            "option ttl",
            f"{ttl} is outside {SHORTEST_TTL} to {LONGEST_TTL} seconds",
            f"leave it out: flanneld's own is {TTL}",
        )
    return ttl


@dataclass(frozen=True)
class Entry:
    """What a key shall hold: a reservation, or a lease that ends unless its host renews it."""

    attributes: Attributes
    reservation: bool


@dataclass(frozen=True)
class Step:
    """One key. before: None where it does not exist; after: None where it shall not."""

    subnets: Subnets
    before: Optional[Lease]
    after: Optional[Entry]


@dataclass(frozen=True)
class Plan:
    """steps: what has to be done; nothing where all is as wanted.

    lease: what the plan is about, as it is afterwards; None where there is nothing then.
    cuts: sentences about what the steps take from live hosts. warnings: what the operator should know besides.
    """

    steps: Tuple[Step, ...] = ()
    lease: Optional[Lease] = None
    cuts: Tuple[str, ...] = ()
    warnings: Tuple[str, ...] = ()


@dataclass(frozen=True)
class LeaseChange:
    """plan: the first plan, with all that had to be done. steps: what was done, or would be.

    lease: as it stands in the store then. holders: what was read last.
    """

    plan: Plan
    steps: Tuple[Step, ...]
    lease: Optional[Lease]
    holders: Holders


class LeaseModule(Protocol):
    """What is used here of AnsibleModule."""

    params: Dict[str, Any]
    check_mode: bool

    def warn(self, warning: str) -> None:
        """Show this to the operator beside the result."""


Namer = Callable[[Lease], str]
"""Names a lease for messages: key, host, seconds left."""

Planner = Callable[[Holders, Namer], Plan]


def apply_steps(
    store: Store, layout: Layout, make_plan: Planner, is_allowed: Callable[[Plan], bool], ttl: int = TTL
) -> LeaseChange:
    """Plan and write, then look again: another writer may have been faster, or have taken an overlapping subnet.

    is_allowed: asked before anything is written; False leaves all as it is, and it may raise. ttl: seconds of what
    becomes a lease. Raises what make_plan raises, after taking back what it forbids; WriteConflict; StoreError.
    """
    first: Optional[Plan] = None
    done: List[Step] = []
    for _attempt in range(ATTEMPTS + 1):
        holders = read_holders(store, layout)
        try:
            plan = make_plan(holders, _make_namer(store, layout, holders))
        except SubnetTaken:
            _take_back(store, layout, done, holders)
            raise
        first = first or plan
        if not plan.steps or not is_allowed(plan):
            return LeaseChange(first, (*done, *plan.steps), plan.lease, holders)
        for step in plan.steps:
            if not _carry_out(store, layout, step, ttl):
                break
            done.append(step)
    keys = ", ".join(layout.subnet_key(step.subnets) for step in plan.steps)
    raise WriteConflict(
        f"lease {keys}",
        f"somebody else changed it during each of {ATTEMPTS + 1} attempts to write it",
        "find out who else writes it, and run again; upstream's flanneld makes an ordinary lease of each reservation "
        "that it holds",
    )


def _make_namer(store: Store, layout: Layout, holders: Holders) -> Namer:
    def name(lease: Lease) -> str:
        return name_lease(layout, holders, lease, read_seconds_left(store, (lease,))[lease.key])

    return name


def _carry_out(store: Store, layout: Layout, step: Step, ttl: int) -> bool:
    """False when the key is not as it was when the step was planned."""
    key, expected = layout.subnet_key(step.subnets), step.before.mod_revision if step.before else 0
    if step.after is None:
        return store.delete(key, expected).succeeded
    value = format_value(step.after.attributes).encode()
    # The etcd lease that the key hung on runs out by itself: other keys may hang on it.
    if step.after.reservation:
        return store.replace(key, value, expected).succeeded
    lease_id = store.grant(ttl)
    written = False
    try:
        written = store.replace(key, value, expected, lease_id).succeeded
    finally:
        if not written:
            with contextlib.suppress(StoreError):
                store.revoke(lease_id)
    return written


def _take_back(store: Store, layout: Layout, done: List[Step], holders: Holders) -> None:
    """Remove the keys that we have made and no host has taken yet."""
    made = [step.subnets for step in done if step.before is None]
    for lease in holders.stored.leases:
        if lease.subnets in made and not holders.is_taken(lease):
            store.delete(layout.subnet_key(lease.subnets), lease.mod_revision)


def refuse_cuts(plan: Plan) -> None:
    """Raise DisruptionRefused if the plan takes something from live hosts."""
    if plan.cuts:
        raise DisruptionRefused(
            "leases",
            "; ".join(plan.cuts),
            "set allow_disruptive: true to do it nevertheless, at a time when containers there may lose their network",
            (),
        )


def change_leases(module: LeaseModule, layout: Layout, make_plan: Planner, ttl: int = TTL) -> Dict[str, Any]:
    """The return values of flannel_reservation and flannel_lease, after the plan is carried out (in check mode: would
    be). ttl: as in apply_steps.

    Raises DisruptionRefused, and what apply_steps raises.
    """

    def is_allowed(plan: Plan) -> bool:
        if not module.params["allow_disruptive"]:
            refuse_cuts(plan)
        return not module.check_mode

    try:
        with connected_store(module.params) as store:
            change = apply_steps(store, layout, make_plan, is_allowed, ttl)
    except StoreLibraryMissing as error:
        if not module.check_mode:
            raise
        module.warn(f"{error}. Check mode shows the change as if etcd were empty.")
        empty = Holders(NOTHING_STORED)
        plan = make_plan(empty, lambda lease: lease.key)
        change = LeaseChange(plan, plan.steps, plan.lease, empty)
    for warning in change.plan.warnings:
        module.warn(warning)
    return describe_lease_change(layout, change)


def describe_lease_change(layout: Layout, change: LeaseChange) -> Dict[str, Any]:
    """The return values of flannel_reservation and flannel_lease."""
    return {
        "changed": bool(change.steps),
        "lease": None if change.lease is None else describe_held_lease(layout, change.holders, change.lease),
        "disruptions": list(change.plan.cuts),
        "diff": _build_diff(layout, change),
    }


def _build_diff(layout: Layout, change: LeaseChange) -> List[Dict[str, str]]:
    """Each key that changes, before and after; if none does, the one that all is about."""
    shown = [
        (
            step.subnets,
            "" if step.before is None else _show(step.before.attributes, step.before.is_reservation),
            "" if step.after is None else _show(step.after.attributes, step.after.reservation),
        )
        for step in change.steps
    ]
    lease = change.lease
    if not shown and lease is not None:
        text = _show(lease.attributes, lease.is_reservation)
        shown = [(lease.subnets, text, text)]
    return [
        {
            "before_header": layout.subnet_key(subnets),
            "after_header": layout.subnet_key(subnets),
            "before": before,
            "after": after,
        }
        for subnets, before, after in shown
    ]


def _show(attributes: Attributes, reservation: bool) -> str:
    shown = {"reservation": reservation, "value": json.loads(format_value(attributes))}
    return json.dumps(shown, indent=2, ensure_ascii=False) + "\n"
