# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our node entry, and the other hosts that go by our identity or our public IP (design: Identity)."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import replace
from typing import List, Optional, Set, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._errors import LeaseError, StoreError
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Layout
from ansible_collections.weft.flannel.plugins.module_utils._node import (
    NodeEntry,
    format_node,
    node_from_item,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue, Store
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES, Address

from flanneld import __version__
from flanneld.leasing import HostConflict, Identity

log = logging.getLogger(__name__)

_LOOKS = 3
"""Look, write, look again whether somebody was faster; once more when the store had lost the entry meanwhile."""


def read_clock() -> float:
    """Seconds that no clock step changes, and that go on while the host is suspended, as those of etcd do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class NodeClaim:
    """Takes and keeps our node entry. One for each thread; ttl: seconds of an entry that nobody renews.

    A rival is another boot of our id, or another id with our public IP. It may be gone already, and only its entry
    left: we let one time to live go by before we believe in it.

    subnet: what our entry says of our lease. others: the hosts that are up, as of the last look.
    """

    def __init__(self, layout: Layout, ttl: int) -> None:
        self._layout = layout
        self._ttl = ttl
        self._lease_id = 0
        self.others: Tuple[NodeEntry, ...] = ()
        self.subnet = ""
        self._rival: Optional[Tuple[str, str]] = None
        self._patience_ends = 0.0
        self._told: Set[str] = set()

    @property
    def stands(self) -> bool:
        """Whether we have an entry, as far as we know."""
        return self._lease_id != 0

    @property
    def pause(self) -> float:
        """Seconds after which it is worth looking again whether a rival has gone."""
        return min(1.0, self._ttl / 20)

    def take(self, store: Store, wanted: NodeEntry, subnet: Optional[str] = None) -> bool:
        """Bring our entry to that; False while a rival may only be a leftover: look again after a pause.

        subnet: the key of our lease, "" for none, None to leave what the entry says. Raises HostConflict.
        """
        for _look in range(_LOOKS):
            items = store.list(self._layout.nodes).items
            entries = self._read(items)
            mine = next((one for one in entries if _same_boot(one, wanted)), None)
            self.others = tuple(one for one in entries if one is not mine)
            ours = replace(wanted, subnet=_choose_subnet(subnet, mine))
            self.subnet = ours.subnet
            rival = self._find_rival(ours, mine)
            if mine is not None:
                self._lease_id = mine.lease_id
            if rival is not None:
                self._give_way(store, rival, mine)
                self._wait_for(rival, ours)
                return False
            self._rival = None
            if mine is not None and mine.lease_id and format_node(mine) == format_node(ours):
                store.keep_alive(mine.lease_id)
                return True
            current = next((one for one in items if one.key == self._layout.node_key(wanted.id)), None)
            if current is not None and mine is not None and _addresses(mine) != _addresses(ours):
                # a claim of another address begins now
                store.delete(current.key, current.mod_revision)
                current = None
            self._write(store, ours, current)
        return False

    def keep_alive(self, store: Store) -> None:
        """Start its time anew. Raises StoreLeaseLost when the entry is gone."""
        store.keep_alive(self._lease_id)

    def give_back(self, store: Store) -> None:
        """Take our entry away, if there is one: present means live."""
        lease_id, self._lease_id = self._lease_id, 0
        if lease_id:
            with contextlib.suppress(StoreError):
                store.revoke(lease_id)

    def find_holder(self, subnet_key: str) -> Optional[NodeEntry]:
        """The live other host that says it holds that lease, as of the last look."""
        return next((one for one in self.others if one.subnet == subnet_key), None)

    def find_by_address(self, addresses: Tuple[Optional[Address], ...]) -> Optional[NodeEntry]:
        """The live other host that has one of these public IPs, as of the last look."""
        wanted = {address for address in addresses if address is not None}
        return next((one for one in self.others if wanted & {one.public_ip, one.public_ipv6}), None)

    # inside

    def _read(self, items: Tuple[KeyValue, ...]) -> List[NodeEntry]:
        entries: List[NodeEntry] = []
        for item in items:
            try:
                entries.append(node_from_item(self._layout, item))
            except LeaseError as error:
                if item.key not in self._told:
                    self._told.add(item.key)
                    log.warning("Ignoring a bad node entry: %s", error)
        return entries

    def _find_rival(self, ours: NodeEntry, mine: Optional[NodeEntry]) -> Optional[NodeEntry]:
        """Of two hosts that claim an address at the same time, the one that wrote first keeps it: whoever writes looks
        again, sees the older claim and gives way. A claim is as old as its key, whatever it has come to say since."""
        claimed = mine is not None and _addresses(mine) == _addresses(ours)
        for other in self.others:
            if other.id == ours.id:
                return other
            if _shared_address(other, ours) is None:
                continue
            if mine is None or not claimed or other.create_revision < mine.create_revision:
                return other
        return None

    def _give_way(self, store: Store, rival: NodeEntry, mine: Optional[NodeEntry]) -> None:
        """What our entry says may stand although what we wanted it to say may not: an address that a live host has."""
        if mine is not None and _shared_address(mine, rival) is None:
            store.keep_alive(mine.lease_id)
        else:
            self.give_back(store)

    def _wait_for(self, rival: NodeEntry, ours: NodeEntry) -> None:
        """Raises HostConflict when the rival has been there for longer than a leftover can be."""
        if self._rival != (rival.id, rival.boot_id):
            self._rival = (rival.id, rival.boot_id)
            # etcd looks for leases that have ended every half second
            self._patience_ends = read_clock() + self._ttl * 1.1 + 1.0
            log.warning(
                "Host %s is present in etcd with our %s, waiting up to %d s for it to go",
                rival,
                "id" if rival.id == ours.id else "public IP",
                self._ttl,
            )
        if read_clock() >= self._patience_ends:
            raise _explain(rival, ours)

    def _write(self, store: Store, ours: NodeEntry, current: Optional[KeyValue]) -> None:
        """Put our entry where there is none, or over one of our own; what came of it, the next look tells."""
        lease_id = store.grant(self._ttl)
        written = False
        try:
            expected = current.mod_revision if current is not None else 0
            value = format_node(ours).encode()
            written = store.replace(self._layout.node_key(ours.id), value, expected, lease_id).succeeded
        finally:
            if not written:
                with contextlib.suppress(StoreError):
                    store.revoke(lease_id)
        if written:
            self._lease_id = lease_id


def make_entry(identity: Identity, attributes: Attributes) -> NodeEntry:
    """Our entry, without the subnet."""
    return NodeEntry(
        id=identity.id,
        boot_id=identity.boot_id,
        host=identity.host,
        public_ip=attributes.public_ip,
        public_ipv6=attributes.public_ipv6,
        version=__version__,
    )


def _choose_subnet(subnet: Optional[str], mine: Optional[NodeEntry]) -> str:
    if subnet is not None:
        return subnet
    return mine.subnet if mine is not None else ""


def _same_boot(one: NodeEntry, other: NodeEntry) -> bool:
    return (one.id, one.boot_id) == (other.id, other.boot_id)


def _addresses(entry: NodeEntry) -> Tuple[Optional[Address], ...]:
    return tuple(entry.public_address(family) for family in FAMILIES)


def _shared_address(one: NodeEntry, other: NodeEntry) -> Optional[Address]:
    for family in FAMILIES:
        address = one.public_address(family)
        if address is not None and address == other.public_address(family):
            return address
    return None


def _explain(rival: NodeEntry, ours: NodeEntry) -> HostConflict:
    if rival.id == ours.id:
        return HostConflict(
            f"host {ours}",
            f"host {rival} has the same id and is up: one of them is a clone of the other",
            "on the clone: stop flanneld, remove its state directory and /etc/machine-id, run "
            "systemd-machine-id-setup, and start flanneld again",
        )
    return HostConflict(
        f"host {ours}",
        f"host {rival} publishes the same public IP {_shared_address(rival, ours)} and is up",
        "give one of them an address of its own with --public-ip or --iface",
    )
