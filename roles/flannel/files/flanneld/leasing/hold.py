# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host keeps its lease and its node entry: one thread, its timers, and the agent's wishes (spec 2.4, 2.5).

Time is that of read_clock(): it goes on while the host is suspended, so that everything is due after that.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    FlannelError,
    OutOfSubnets,
    StoreError,
    StoreLeaseLost,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease

from flanneld.leasing import (
    Claim,
    HoldFailed,
    HostConflict,
    LeaseConflict,
    LeaseKept,
    LeaseTaken,
    MoveOn,
    Post,
    Publish,
    Wish,
)
from flanneld.leasing.acquire import Acquisition, describe
from flanneld.leasing.backoff import Backoff
from flanneld.leasing.nodes import NodeClaim, make_entry, read_clock
from flanneld.leasing.own import OwnLease
from flanneld.leasing.upkeep import Upkeep

log = logging.getLogger(__name__)

_TICK = 0.5
"""Seconds after which the thread looks whether it has to stop."""

_SHORTEST_INTERVAL = 0.5


@dataclass(frozen=True)
class Terms:
    """What a lease is held by, and how often it is renewed. margin, node_ttl: seconds."""

    claim: Claim
    config: NetworkConfig
    margin: int
    node_ttl: int


def find_interval(ttl: int, margin: int) -> float:
    """Seconds between renewals: at the earlier of a third of the time and the time less the margin."""
    return max(_SHORTEST_INTERVAL, min(ttl / 3, ttl - margin) if margin < ttl else ttl / 3)


class Holder:
    """Everything belongs to the thread that calls `serve`."""

    def __init__(self, own: OwnLease, nodes: NodeClaim, terms: Terms, lease: Lease, post: Post) -> None:
        self._own = own
        self._nodes = nodes
        self._terms = terms
        self._lease = lease
        self._post = post
        self._attributes = terms.claim.attributes
        self._upkeep = self._make_upkeep()
        self._moving = False
        self._answer_due = False
        self._conflict = ""
        self._failure = ""
        self._round_due = read_clock()
        self._entry_due = read_clock()
        self._away = Backoff()
        self._lost = Backoff(first=1.0, longest=30.0)

    def serve(self, wishes: queue.SimpleQueue[Wish], stop: threading.Event) -> None:
        while self._wait(wishes, stop):
            try:
                if self._round_due <= read_clock():
                    self.do_round()
                else:
                    self._renew_entry()
            except LeaseTaken as error:
                self._note_conflict(error)
            except HostConflict as error:
                self._note_conflict(error)
                if not self._nodes.stands:
                    self._entry_due = self._round_due
            except (StoreError, OutOfSubnets) as error:
                self._note_failure(error)
        self._nodes.give_back(self._own.store)

    # --- when

    def _wait(self, wishes: queue.SimpleQueue[Wish], stop: threading.Event) -> bool:
        """Until something is due; False when the agent stops."""
        while not stop.is_set():
            remaining = min(self._round_due, self._entry_due) - read_clock()
            try:
                self._note(wishes.get(timeout=min(_TICK, max(0.0, remaining))))
                while True:
                    self._note(wishes.get_nowait())
            except queue.Empty:
                pass
            if min(self._round_due, self._entry_due) <= read_clock():
                return not stop.is_set()
        return False

    def _note(self, wish: Wish) -> None:
        if isinstance(wish, Publish):
            self._attributes = wish.attributes
        self._moving = self._moving or isinstance(wish, MoveOn)
        self._answer_due = True
        self._round_due = read_clock()

    # --- what

    def _renew_entry(self) -> None:
        try:
            self._nodes.keep_alive(self._own.store)
            self._entry_due = read_clock() + self._terms.node_ttl / 3
        except StoreLeaseLost:
            # The store was away, or we were: the lease has to be looked at as well.
            self._round_due = read_clock()

    def do_round(self) -> None:
        """Look at everything, put right what is ours to put right, and tell."""
        store, entry = self._own.store, make_entry(self._terms.claim.identity, self._attributes)
        # a wish of now: it is repeated as long as it holds, and containers may come while the store is away
        moving, self._moving = self._moving, False
        try:
            present = self._nodes.take(store, entry)
        except (HostConflict, StoreError):  # an etcd without space left renews leases, and grants none
            self._keep_lease_alive()
            raise
        if not present:
            self._keep_lease_alive()
            self._round_due = self._entry_due = read_clock() + self._nodes.pause
            return
        self._entry_due = read_clock() + self._terms.node_ttl / 3
        try:
            self._lease, ttl = self._upkeep.check(self._lease, self._attributes)
        except LeaseTaken:
            self._nodes.take(store, entry, "")
            if not moving:
                raise
            self._lease, ttl = self._move_on()
        if self._nodes.subnet != self._lease.key:
            self._nodes.take(store, entry, self._lease.key)
        self._note_success(ttl)

    def _keep_lease_alive(self) -> None:
        """Without our node entry nothing is written, but no time is lost either."""
        if self._lease.lease_id:
            with contextlib.suppress(StoreError):
                self._own.store.keep_alive(self._lease.lease_id)

    def _move_on(self) -> Tuple[Lease, int]:
        claim = replace(self._terms.claim, attributes=self._attributes, previous=None, last=None)
        lost = self._lease
        others = self._nodes.others
        lease = Acquisition(self._own, claim, self._terms.config, others, {lost.key}).run()
        log.warning(
            "Subnet (%s) is lost, (%s) leased instead", describe(lost.subnets), describe(lease.subnets)
        )
        if self._own.give_back(lost):
            log.info("Gave (%s) back, it was ours until now", describe(lost.subnets))
        self._upkeep = self._make_upkeep()
        return lease, 0 if lease.is_reservation else self._own.ttl

    def _make_upkeep(self) -> Upkeep:
        us = make_entry(self._terms.claim.identity, self._attributes)
        return Upkeep(self._own, self._nodes, self._terms.config, us)

    # --- what came of it

    def _note_success(self, ttl: int) -> None:
        self._answer_due = False
        self._conflict = self._failure = ""
        self._away.reset()
        self._lost.reset()
        self._round_due = read_clock() + find_interval(ttl or self._own.ttl, self._terms.margin)
        log.info("Waiting for %s to renew lease", timedelta(seconds=int(self._round_due - read_clock())))
        self._post(LeaseKept(self._lease, ttl))

    def _note_conflict(self, error: FlannelError) -> None:
        """Told when it begins, when it becomes another one, and in answer to a wish; else we try in silence."""
        if str(error) != self._conflict:
            log.error("%s", error)
        if str(error) != self._conflict or self._answer_due:
            self._post(LeaseConflict(error))
        self._conflict, self._answer_due = str(error), False
        self._round_due = read_clock() + self._lost.delay()

    def _note_failure(self, error: FlannelError) -> None:
        if str(error) != self._failure:
            self._failure = str(error)
            log.warning("Error renewing lease (%s), trying again: %s", describe(self._lease.subnets), error)
        self._post(HoldFailed(error))
        self._round_due = self._entry_due = read_clock() + self._away.delay()
