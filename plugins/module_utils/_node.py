# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Node entries, <prefix>/nodes/<id>: which hosts are up, and who they are (docs/decisions, design: Identity).

An entry hangs on a short etcd lease of its own: present means live. Upstream knows nothing of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Dict, Optional

from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError, LeaseError
from ansible_collections.weft.flannel.plugins.module_utils._gojson import (
    Number,
    decode,
    encode,
    quote,
    read_members,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    IPV4,
    Address,
    Family,
    parse_ipv4,
    parse_ipv6,
)

if TYPE_CHECKING:
    from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue

_NEXT_STEP = "delete the key; the host it belongs to writes it again"


@dataclass(frozen=True)
class NodeEntry:
    """One host as it stands in etcd.

    id: 32 hex digits, the last part of the key. subnet: the key of its lease below subnets/, "" while it has none.
    create_revision, lease_id: etcd's, 0 where not yet written.
    """

    id: str
    boot_id: str = ""
    host: str = ""
    public_ip: Optional[IPv4Address] = None
    public_ipv6: Optional[IPv6Address] = None
    subnet: str = ""
    version: str = ""
    create_revision: int = 0
    lease_id: int = 0

    def public_address(self, family: Family) -> Optional[Address]:
        """The public IP of that family, or None."""
        return self.public_ip if family == IPV4 else self.public_ipv6

    def __str__(self) -> str:
        """For messages: whatever an operator needs to find the host."""
        addresses = " and ".join(str(one) for one in (self.public_ip, self.public_ipv6) if one)
        return (
            f"{quote(self.host or 'without a name')} (address {addresses or 'unknown'}, id {quote(self.id)}, "
            f"boot id {quote(self.boot_id)})"
        )


def format_node(entry: NodeEntry) -> str:
    """The value of a node entry: compact JSON with every key."""
    members = {
        "Host": encode(entry.host),
        "BootID": encode(entry.boot_id),
        "PublicIP": encode(str(entry.public_ip)) if entry.public_ip else "null",
        "PublicIPv6": encode(str(entry.public_ipv6)) if entry.public_ipv6 else "null",
        "Subnet": encode(entry.subnet),
        "Version": encode(entry.version),
    }
    return "{" + ",".join(f'"{key}":{value}' for key, value in members.items()) + "}"


def node_from_item(layout: Layout, item: KeyValue) -> NodeEntry:
    """The node entry an etcd item holds. Raises LeaseError naming the key.

    Unknown keys are passed over and missing ones are empty: another version may have written it.
    """
    try:
        texts = _read_texts(item.value)
        public_ip, public_ipv6 = texts.get("PublicIP"), texts.get("PublicIPv6")
        return NodeEntry(
            id=item.key[len(layout.nodes) :],
            boot_id=texts.get("BootID", ""),
            host=texts.get("Host", ""),
            public_ip=parse_ipv4(public_ip) if public_ip else None,
            public_ipv6=parse_ipv6(public_ipv6) if public_ipv6 else None,
            subnet=texts.get("Subnet", ""),
            version=texts.get("Version", ""),
            create_revision=item.create_revision,
            lease_id=item.lease_id,
        )
    except AddressError as error:
        raise LeaseError(
            f"node entry {quote(item.key)}", f"{error.subject}: {error.cause}", _NEXT_STEP
        ) from None
    except ValueError as error:
        raise LeaseError(
            f"node entry {quote(item.key)}", f"is not a node entry: {error}", _NEXT_STEP
        ) from None


def _read_texts(value: bytes) -> Dict[str, str]:
    """The members that are strings. Raises ValueError."""
    texts: Dict[str, str] = {}
    for key, source in read_members(value):
        text = decode(source)
        if isinstance(text, str) and not isinstance(text, Number):
            texts[key] = text
    return texts
