# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The leases of the other hosts as we know them, and when we may believe that one is gone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Set, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease

from flanneld.leasing import LeaseChanges, LeaseListing, Unreadable
from flanneld.leasing.conflicts import Conflicts, Rules

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What the agent has to do after news from the store."""

    accepted: Tuple[Lease, ...] = ()
    """Peers that are new or have changed."""
    dropped: Tuple[str, ...] = ()
    """Keys of leases that are no longer peers."""
    own_missing: bool = False
    """Our own lease is not in the store as we wrote it."""
    complete: bool = False
    """We know all peers now, so that whatever else is left of an earlier life may go."""


class Peers:
    """grace: seconds for which a peer is kept that vanished together with the store's memory.

    A list that lacks our own lease, comes from another etcd cluster, or is older than what we have seen says that the
    store was emptied or restored, not that the hosts are gone: every peer is kept until the grace time is over.
    """

    def __init__(self, rules: Rules, grace: float) -> None:
        self._rules = rules
        self._grace = grace
        self._conflicts = Conflicts(rules)
        self._known: Dict[str, Lease] = {}
        self._peers: Dict[str, Lease] = {}
        self._missing: Dict[str, float] = {}
        self._revision = 0
        self._cluster_id: Optional[int] = None
        self._unreadable: Dict[str, Unreadable] = {}
        self._complete = False
        self._complete_at: Optional[float] = None
        self.refused: Dict[str, str] = {}

    @property
    def count(self) -> int:
        return len(self._peers)

    def see_listing(self, listing: LeaseListing, now: float) -> Outcome:
        """Take in a complete list. now: monotonic seconds."""
        own_missing = not any(self._is_own(lease) for lease in listing.leases)
        doubt = self._find_doubt(listing, own_missing)
        self._revision, self._cluster_id = listing.revision, listing.cluster_id
        self._unreadable = {}
        self._note_unreadable(listing.unreadable)
        self._complete = self._complete or not doubt
        if not self._complete and self._complete_at is None:
            self._complete_at = now + self._grace
        others = {lease.key: lease for lease in listing.leases if lease.key != self._rules.own.key}
        gone = self._known.keys() - others.keys()
        if doubt and gone:
            log.warning(
                "The store seems to have lost data (%s): keeping %d peers that it does not list for %d s",
                doubt,
                len(gone),
                self._grace,
            )
            for key in gone:
                self._missing.setdefault(key, now + self._grace)
        touched: Set[str] = set()
        for key in gone - self._missing.keys():
            touched |= self._lose(key)
        for key, lease in others.items():
            touched |= self._learn(key, lease)
        return self._settle(touched, own_missing)

    def see_changes(self, changes: LeaseChanges) -> Outcome:
        """Take in what changed since."""
        self._revision = changes.revision
        own_missing = False
        touched: Set[str] = set()
        for subnets, lease in changes.changes:
            key = Lease(subnets, self._rules.own.attributes).key if lease is None else lease.key
            self._unreadable.pop(key, None)
            if key == self._rules.own.key:
                own_missing = lease is None or not self._is_own(lease)
            elif lease is None:
                touched |= self._lose(key)
            else:
                touched |= self._learn(key, lease)
        self._note_unreadable(changes.unreadable)
        return self._settle(touched, own_missing)

    def expire(self, now: float) -> Outcome:
        """Give up peers that are still missing after the grace time."""
        touched: Set[str] = set()
        self._complete = self._complete or (self._complete_at is not None and self._complete_at <= now)
        for key in [key for key, deadline in self._missing.items() if deadline <= now]:
            log.warning("Lease %s did not come back within %d s, removing the peer", key, self._grace)
            touched |= self._lose(key)
        return self._settle(touched, False)

    def next_expiry(self) -> Optional[float]:
        waits = list(self._missing.values())
        if self._complete_at is not None and not self._complete:
            waits.append(self._complete_at)
        return min(waits, default=None)

    def rebase(self, rules: Rules) -> Outcome:
        """Judge and hand out everything again: our own lease or the underlay has changed."""
        self._rules = rules
        self._conflicts = Conflicts(rules)
        for lease in self._known.values():
            self._conflicts.put(lease)
        before, self._peers = self._peers, {}
        accepted = self._settle(self._known, False).accepted
        return Outcome(accepted, tuple(sorted(before.keys() - self._peers.keys())), complete=self._complete)

    def _is_own(self, lease: Lease) -> bool:
        return lease.key == self._rules.own.key and lease.attributes == self._rules.own.attributes

    def _find_doubt(self, listing: LeaseListing, own_missing: bool) -> str:
        """Why the store's memory cannot be trusted, "" when it can."""
        if self._cluster_id not in (None, listing.cluster_id):
            return "another etcd cluster answers"
        if listing.revision < self._revision:
            return f"its revision went back from {self._revision} to {listing.revision}"
        return "it does not have our own lease" if own_missing else ""

    def _learn(self, key: str, lease: Lease) -> Set[str]:
        self._missing.pop(key, None)
        if self._known.get(key) == lease:
            return set()
        self._known[key] = lease
        return self._conflicts.put(lease)

    def _lose(self, key: str) -> Set[str]:
        self._missing.pop(key, None)
        if self._known.pop(key, None) is None:
            return set()
        return self._conflicts.remove(key) | {key}

    def _settle(self, touched: Iterable[str], own_missing: bool) -> Outcome:
        accepted: List[Lease] = []
        dropped: List[str] = []
        for key in sorted(touched):
            lease = self._known.get(key)
            reason = self._conflicts.find_reason(key) if lease is not None else None
            self._note_refusal(key, reason)
            if lease is not None and reason is None:
                if not _same_peer(self._peers.get(key), lease):
                    accepted.append(lease)
                self._peers[key] = lease
            elif self._peers.pop(key, None) is not None:
                dropped.append(key)
        return Outcome(tuple(accepted), tuple(dropped), own_missing, self._complete)

    def _note_refusal(self, key: str, reason: Optional[str]) -> None:
        if reason is None:
            self.refused.pop(key, None)
        elif self.refused.get(key) != reason:
            self.refused[key] = reason
            log.warning("Refused lease %s: %s (%d refused)", key, reason, len(self.refused))

    def _note_unreadable(self, unreadable: Iterable[Unreadable]) -> None:
        for one in unreadable:
            self._unreadable[one.key] = one
            log.warning("Ignoring bad subnet node %s (%d ignored)", one.error, len(self._unreadable))


def _same_peer(before: Optional[Lease], after: Lease) -> bool:
    """A renewal changes revisions and the etcd lease, which is nothing to a peer."""
    return before is not None and before.attributes == after.attributes
