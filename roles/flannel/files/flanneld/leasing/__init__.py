# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where leases come from: one protocol, and the messages it posts to the agent's loop.

Nothing above this package knows which store is behind it.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import Callable, Optional, Protocol, Tuple, Union

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease, Subnets


class LeaseTaken(FlannelError):
    """The key of our lease holds somebody else's value."""


class HostConflict(FlannelError):
    """Another live host goes by our identity, or publishes our public IP."""


@dataclass(frozen=True)
class Identity:
    """Who this host is to the others (design: Identity).

    id: 32 hex digits, made at the first start and kept in the state directory. boot_id: another one after each boot.
    host: the host name, for messages.
    """

    id: str
    boot_id: str
    host: str


@dataclass(frozen=True)
class Unreadable:
    """A key below subnets/ that is not a lease, or holds no value of one."""

    key: str
    """The key without the prefix of all leases."""
    error: FlannelError


@dataclass(frozen=True)
class LeaseListing:
    """All leases at one revision. Our own is among them when the store has it."""

    leases: Tuple[Lease, ...]
    unreadable: Tuple[Unreadable, ...]
    revision: int
    cluster_id: int


@dataclass(frozen=True)
class LeaseChanges:
    """What changed after the last listing or the last changes, in the order in which it did."""

    changes: Tuple[Tuple[Subnets, Optional[Lease]], ...]
    """The subnets of a lease with its new state, None when it is gone."""
    unreadable: Tuple[Unreadable, ...]
    revision: int


@dataclass(frozen=True)
class WatchBroken:
    """The watch ended; it is being set up again. What is known stays."""

    error: FlannelError


@dataclass(frozen=True)
class LeaseKept:
    """Our lease stands in the store, in this state, and our node entry with it.

    ttl: seconds that it has left from now on; 0 for a reservation, which has no end.
    """

    lease: Lease
    ttl: int


@dataclass(frozen=True)
class LeaseConflict:
    """Our lease or our identity is with another live host. Nothing of theirs was touched; we go on trying."""

    error: FlannelError


@dataclass(frozen=True)
class HoldFailed:
    """The lease could not be renewed this time (the store is away); tried again by itself."""

    error: FlannelError


@dataclass(frozen=True)
class PutBack:
    """Wish: our lease is not in the store as we wrote it; look, and put it back."""


@dataclass(frozen=True)
class Publish:
    """Wish: bring the value of our lease to this (an address or a MAC has changed)."""

    attributes: Attributes


@dataclass(frozen=True)
class MoveOn:
    """Wish: our subnet is lost to another host and nothing here uses it any more: lease another one."""


Wish = Union[PutBack, Publish, MoveOn]


@dataclass(frozen=True)
class ConfigSeen:
    """The network config as it stands in the store now; None when the key is missing."""

    text: Optional[str]


@dataclass(frozen=True)
class Claim:
    """What this host asks for, and by which rights.

    previous: the subnets that subnet.env names, None when it names none.
    last: our lease as we last knew it (its revisions and etcd lease prove that a key is still ours although its
        public IP is an old one), None when this host never had one, or has forgotten it.
    """

    attributes: Attributes
    identity: Identity
    previous: Optional[Subnets] = None
    last: Optional[Lease] = None


@dataclass(frozen=True)
class KnownPeers:
    """The peers as they were known at a revision of a cluster, kept on disk for a boot without the store."""

    leases: Tuple[Lease, ...]
    revision: int
    cluster_id: int


Post = Callable[[object], None]


class SubnetManager(Protocol):
    """A source of subnets. Methods that take `post` are thread bodies: they wait, post, and end when `stop` is set."""

    def read_config(self) -> str:
        """The text of the network config. Raises ConfigError when the key is missing, StoreError when it cannot be
        read."""

    def acquire(self, claim: Claim, config: NetworkConfig) -> Lease:
        """A lease for this host: by identity, by public IP, by its previous subnet, else any free one (spec 2.7).

        Raises OutOfSubnets, HostConflict, StoreError.
        """

    def hold(
        self,
        lease: Lease,
        claim: Claim,
        config: NetworkConfig,
        wishes: queue.SimpleQueue[Wish],
        post: Post,
        stop: threading.Event,
    ) -> None:
        """Keep our lease and our node entry alive, and do what is wished for.

        Posts LeaseKept after every renewal and change, HoldFailed, LeaseConflict. Takes the node entry back at the
        end: present means live.
        """

    def release(self, lease: Lease) -> None:
        """Give the lease up for good (--release-on-exit); a reservation stays. Raises StoreError."""

    def watch_leases(self, post: Post, stop: threading.Event) -> None:
        """Posts a LeaseListing, then LeaseChanges without a gap, WatchBroken and a new listing after any trouble."""

    def watch_config(self, post: Post, stop: threading.Event) -> None:
        """Posts ConfigSeen at first and at every change."""
