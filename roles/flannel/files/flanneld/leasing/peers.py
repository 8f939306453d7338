# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The leases of the other hosts as we know them, and when we may believe that one is gone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Set, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._lease import Lease, format_key
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES

from flanneld.leasing import KnownPeers, LeaseChanges, LeaseListing, Unreadable
from flanneld.leasing.conflicts import Conflicts, Rules, find_lack

log = logging.getLogger(__name__)

NO_CLUSTER = 0
"""In KnownPeers, the cluster id of a store that could not be believed: every list is in doubt after it."""


@dataclass(frozen=True)
class Outcome:
    """What the agent has to do after news from the store."""

    accepted: Tuple[Lease, ...] = ()
    """Peers that are new or have changed."""
    dropped: Tuple[str, ...] = ()
    """Keys of leases that are no longer peers."""
    peers: int = 0
    """How many peers there are now."""
    own_missing: bool = False
    """Our own lease is not in the store as we wrote it."""
    complete: bool = False
    """We know all peers now, so that whatever else is left of an earlier life may go."""
    own_overlapped: Optional[str] = None
    """The key of an older good lease over our own subnet, in every outcome while there is one: every host believes the
    older one, so our subnet is lost."""


@dataclass(frozen=True)
class PeerState:
    """A lease of another host, and what we think of it.

    state: "peer" (reason: why it is one in its other family only, "" as a rule), "refused", "kept" (gone from the
    store, but kept because the store lost data).
    """

    lease: Lease
    state: str
    reason: str


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
        self._usurper: Optional[Lease] = None
        self._revision = 0
        self._cluster_id: Optional[int] = None
        self._distrust = ""
        self._unreadable: Dict[str, Unreadable] = {}
        self._complete = False
        self._complete_at: Optional[float] = None
        self.refused: Dict[str, str] = {}

    # --- what is known

    @property
    def count(self) -> int:
        return len(self._peers)

    @property
    def complete(self) -> bool:
        """Whether a list has been believed in this life, so that what is left over may go."""
        return self._complete

    @property
    def revision(self) -> int:
        """The store's revision at the last news, 0 before any."""
        return self._revision

    @property
    def cluster_id(self) -> Optional[int]:
        """The etcd cluster that told the last news, None before any."""
        return self._cluster_id

    @property
    def unreadable(self) -> Tuple[str, ...]:
        """Keys below subnets/ that are no leases."""
        return tuple(sorted(self._unreadable))

    def snapshot(self) -> Tuple[PeerState, ...]:
        """Every lease of another host, in the order of keys."""
        leases = dict(self._known)
        if self._usurper is not None:
            leases[self._usurper.key] = self._usurper
        return tuple(self._judge(leases[key]) for key in sorted(leases))

    def _judge(self, lease: Lease) -> PeerState:
        if lease is self._usurper:
            return PeerState(lease, "refused", "it has the key of our own lease")
        if lease.key in self.refused:
            return PeerState(lease, "refused", self.refused[lease.key])
        if lease.key in self._missing:
            return PeerState(lease, "kept", "the store lost it, and other data with it")
        return PeerState(lease, "peer", find_lack(self._rules, lease) or "")

    def known(self) -> Optional[KnownPeers]:
        """What to recall in the next life; None when there is nothing to compare a store with yet.

        While the store is in doubt it has NO_CLUSTER, so that a restart does not cut the grace time short.
        """
        if self._cluster_id is None:
            return None
        in_doubt = self._missing or (self._complete_at is not None and not self._complete)
        cluster_id = NO_CLUSTER if in_doubt else self._cluster_id
        return KnownPeers(tuple(self._known.values()), self._revision, cluster_id)

    # --- news

    def recall(self, known: KnownPeers) -> Outcome:
        """Start from what an earlier life knew: peers at once, but no licence to remove anything.

        The first list is compared with it as if this life had seen it.
        """
        self._revision, self._cluster_id = known.revision, known.cluster_id
        touched: Set[str] = set()
        for lease in known.leases:
            if lease.key != self._rules.own.key:
                touched |= self._learn(lease)
        return self._settle(touched, False)

    def distrust(self, reason: str) -> None:
        """Something else says that the store lost data: the next list is in doubt, whatever it says itself."""
        self._distrust = reason

    def see_listing(self, listing: LeaseListing, now: float) -> Outcome:
        """Take in a complete list. now: monotonic seconds."""
        own_missing = not any(self._is_own(lease) for lease in listing.leases)
        own_missing = own_missing and not any(self._is_own_moved(lease) for lease in listing.leases)
        doubt = self._find_doubt(listing, own_missing)
        self._revision, self._cluster_id, self._distrust = listing.revision, listing.cluster_id, ""
        self._note_unreadable(listing.unreadable)
        listed_unreadable = {one.key for one in listing.unreadable}
        for key in self._unreadable.keys() - listed_unreadable:
            del self._unreadable[key]
        self._complete = self._complete or not doubt
        if not self._complete and self._complete_at is None:
            self._complete_at = now + self._grace
        self._usurper = None
        others: Dict[str, Lease] = {}
        for lease in listing.leases:
            if lease.key == self._rules.own.key:
                self._note_usurper(lease)
            else:
                others[lease.key] = lease
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
        for lease in others.values():
            touched |= self._learn(lease)
        return self._settle(touched, own_missing)

    def see_changes(self, changes: LeaseChanges, now: float) -> Outcome:
        """Take in what changed since."""
        self._revision = changes.revision
        own_missing = False
        touched: Set[str] = set()
        deleted = {format_key(subnets) for subnets, lease in changes.changes if lease is None}
        emptied = self._rules.own.key in deleted and bool(deleted & self._known.keys())
        if emptied:
            log.warning(
                "The store seems to have been emptied (our own lease was deleted together with others): keeping the "
                "peers that are gone from it for %d s",
                self._grace,
            )
        for subnets, lease in changes.changes:
            key = format_key(subnets)
            self._unreadable.pop(key, None)
            if key == self._rules.own.key:
                own_missing = lease is None or not self._stands(lease)
                self._note_usurper(lease)
            elif lease is not None:
                touched |= self._learn(lease)
            elif not emptied:
                touched |= self._lose(key)
            elif key in self._known:
                self._missing.setdefault(key, now + self._grace)
        if any(lease is not None and self._is_own_moved(lease) for _subnets, lease in changes.changes):
            own_missing = False
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
        """Judge and hand out everything again: our own lease or the underlay has changed.

        Our lease may have another key now: a lease under its former key is one like any other, and one that we knew
        under its present key is not.
        """
        usurper, self._usurper = self._usurper, None
        self._rules = rules
        for lease in (self._known.pop(rules.own.key, None), usurper):
            if lease is not None and lease.key == rules.own.key:
                self._note_usurper(lease)
            elif lease is not None:
                self._known[lease.key] = lease
        self._missing.pop(rules.own.key, None)
        self.refused.pop(rules.own.key, None)
        self._conflicts = Conflicts(rules)
        for lease in self._known.values():
            self._conflicts.put(lease)
        before, self._peers = self._peers, {}
        outcome = self._settle(self._known, False)
        dropped = tuple(sorted(before.keys() - self._peers.keys()))
        return Outcome(
            outcome.accepted,
            dropped,
            outcome.peers,
            complete=self._complete,
            own_overlapped=outcome.own_overlapped,
        )

    # --- our own lease

    def _is_own(self, lease: Lease) -> bool:
        return lease.key == self._rules.own.key and lease.attributes == self._rules.own.attributes

    def _stands(self, lease: Lease) -> bool:
        """Our own lease as we know it. An operator may have made a reservation of it, or ended one: how long we may
        have it, and when it is renewed, has to be learned then."""
        return self._is_own(lease) and lease.lease_id == self._rules.own.lease_id

    def _is_own_value(self, lease: Lease) -> bool:
        """It says what only we can say: our address with our own backend data."""
        own = self._rules.own.attributes
        return lease.attributes == own and bool(own.backend_data or own.backend_v6_data)

    def _is_own_moved(self, lease: Lease) -> bool:
        """Our own lease under a key that we were not told of yet: our subnet in one family, and our public address."""
        own = self._rules.own
        if lease.key == own.key:
            return False
        for family in FAMILIES:
            ours, theirs = own.subnets.of(family), lease.subnets.of(family)
            public = own.attributes.public_address(family)
            if ours is not None and ours == theirs and public == lease.attributes.public_address(family):
                return True
        return False

    def _note_usurper(self, lease: Optional[Lease]) -> None:
        """Remember what another host has under our key: it is a peer as soon as the key is not ours any more."""
        self._usurper = lease if lease is not None and not self._is_own(lease) else None

    # --- the leases of the others

    def _find_doubt(self, listing: LeaseListing, own_missing: bool) -> str:
        """Why the store's memory cannot be trusted, "" when it can."""
        if self._distrust:
            return self._distrust
        if self._cluster_id == NO_CLUSTER:
            return "it was in doubt when the agent ended"
        if self._cluster_id not in (None, listing.cluster_id):
            return "another etcd cluster answers"
        if listing.revision < self._revision:
            return f"its revision went back from {self._revision} to {listing.revision}"
        return "it does not have our own lease" if own_missing else ""

    def _learn(self, lease: Lease) -> Set[str]:
        self._missing.pop(lease.key, None)
        if self._known.get(lease.key) == lease:
            return set()
        self._known[lease.key] = lease
        touched = self._conflicts.put(lease)
        for key in touched & self._missing.keys():
            if _same_host(self._known[key], lease):
                touched |= self._lose(key)  # a host has one lease: it is back, under another key
        return touched

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
                    self._note_lack(lease)
                self._peers[key] = lease
            elif self._peers.pop(key, None) is not None:
                dropped.append(key)
        rival = self._conflicts.find_rival()
        return Outcome(
            tuple(accepted),
            tuple(dropped),
            len(self._peers),
            own_missing,
            self._complete,
            None if rival is None else rival.key,
        )

    def _note_refusal(self, key: str, reason: Optional[str]) -> None:
        if reason is None:
            self.refused.pop(key, None)
        elif self.refused.get(key) != reason:
            self.refused[key] = reason
            if self._is_own_value(self._known[key]):
                log.info("Lease %s is our own, seen before we were told of it", key)
            else:
                log.warning("Refused lease %s: %s (%d refused)", key, reason, len(self.refused))

    def _note_lack(self, lease: Lease) -> None:
        lack = find_lack(self._rules, lease)
        if lack is not None:
            log.warning("Lease %s is a peer in its other family only: %s", lease.key, lack)

    def _note_unreadable(self, unreadable: Iterable[Unreadable]) -> None:
        """Each is told once, as long as it stays as it is."""
        for one in unreadable:
            before, self._unreadable[one.key] = self._unreadable.get(one.key), one
            if before is None or str(before.error) != str(one.error):
                log.warning("Ignoring bad subnet node %s (%d ignored)", one.error, len(self._unreadable))


def _same_host(one: Lease, other: Lease) -> bool:
    """They publish the same address, in a family that both have."""
    pairs = (
        (one.attributes.public_address(family), other.attributes.public_address(family))
        for family in FAMILIES
    )
    return any(ours is not None and ours == theirs for ours, theirs in pairs)


def _same_peer(before: Optional[Lease], after: Lease) -> bool:
    """A renewal changes revisions and the etcd lease, which is nothing to a peer."""
    return before is not None and before.attributes == after.attributes
