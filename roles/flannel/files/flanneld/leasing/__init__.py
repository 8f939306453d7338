# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where leases come from: one protocol, and the messages it posts to the agent's loop.

Nothing above this package knows which store is behind it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Callable, Optional, Protocol, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease, Subnets


class LeaseTaken(FlannelError):
    """The key of our lease holds somebody else's value."""


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
    """Our lease stands in the store, in this state."""

    lease: Lease


@dataclass(frozen=True)
class LeaseGone:
    """Our lease cannot be kept."""

    error: FlannelError


@dataclass(frozen=True)
class ConfigSeen:
    """The network config as it stands in the store now; None when the key is missing."""

    text: Optional[str]


@dataclass(frozen=True)
class Claim:
    """What this host asks for."""

    attributes: Attributes
    previous: Optional[Subnets]
    """The subnets of an earlier life, None when there was none."""


Post = Callable[[object], None]


class SubnetManager(Protocol):
    """A source of subnets. Methods that take `post` are thread bodies: they wait, post, and end when `stop` is set."""

    def read_config(self) -> NetworkConfig:
        """The network config. Raises ConfigError when it is missing or invalid, StoreError when it cannot be read."""

    def acquire(self, claim: Claim, config: NetworkConfig) -> Lease:
        """A lease for this host (spec 2.7). Raises OutOfSubnets, StoreError."""

    def hold(self, lease: Lease, missing: threading.Event, post: Post, stop: threading.Event) -> None:
        """Keep our lease alive; put it back when `missing` is set. Posts LeaseKept and LeaseGone."""

    def watch_leases(self, post: Post, stop: threading.Event) -> None:
        """Posts a LeaseListing, then LeaseChanges without a gap, WatchBroken and a new listing after any trouble."""

    def watch_config(self, post: Post, stop: threading.Event) -> None:
        """Posts ConfigSeen at first and at every change."""
