# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Leases: key grammar, value codec and the layout in etcd, byte for byte (spec 2.1-2.3)."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Dict, Optional, Union

from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError, LeaseError
from ansible_collections.weft.flannel.plugins.module_utils._gojson import (
    Number,
    Value,
    compact,
    decode,
    encode,
    fold,
    quote,
    read_members,
    squeeze,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    IPV4,
    Address,
    Family,
    Network,
    make_ipv4,
    make_ipv6,
    parse_ipv4,
    parse_ipv6,
)

if TYPE_CHECKING:
    from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue

_KEY_EXAMPLE = "write the key as 10.5.52.0-24 or 10.5.52.0-24&fd00:5:52::-64"
# An agent reads the list of leases when it looks for its own, when it watches, and each lease again when it is renewed:
# what the text says is the same every time.
_REMEMBERED = 1 << 14
_LONGEST_V4 = 31
_LONGEST_V6 = 127
# Upstream's pattern is not anchored at the left, so "x10.5.52.0-24" names a subnet too.
_KEY = re.compile(r"(?<![0-9])([0-9]+(?:\.[0-9]+){3})-([0-9]+)(?:&([a-f0-9:]+)-([0-9]+))?\Z")


@dataclass(frozen=True)
class Subnets:
    """The subnets of one host: one per family, at least one. Raises LeaseError for what no key can say."""

    v4: Optional[IPv4Network] = None
    v6: Optional[IPv6Network] = None

    def __post_init__(self) -> None:
        if self.v4 is None and self.v6 is None:
            raise LeaseError("lease", "names no subnet", _KEY_EXAMPLE)
        if self.v4 is not None and not 0 < self.v4.prefixlen <= _LONGEST_V4:
            raise LeaseError(f"subnet {self.v4}", f"its length is not 1 to {_LONGEST_V4}", _KEY_EXAMPLE)
        if self.v6 is not None and not 0 < self.v6.prefixlen <= _LONGEST_V6:
            raise LeaseError(f"subnet {self.v6}", f"its length is not 1 to {_LONGEST_V6}", _KEY_EXAMPLE)

    @cached_property
    def key(self) -> str:
        """The lease key of these subnets, as parse_key reads it."""
        v4 = f"{self.v4.network_address!s}-{self.v4.prefixlen}" if self.v4 else "0.0.0.0-0"
        if self.v6 is None:
            return v4
        return f"{v4}&{self.v6.network_address}-{self.v6.prefixlen}"

    def of(self, family: Family) -> Optional[Network]:
        """The subnet of that family, or None."""
        return self.v4 if family == IPV4 else self.v6


@lru_cache(maxsize=_REMEMBERED)
def parse_key(text: str) -> Subnets:
    """The subnets a lease key names, the part after "subnets/" (spec 2.2). Raises LeaseError.

    A zero net ("0.0.0.0-0") stands for a family that is off. Host bits are refused: upstream would take the
    address for the start of a subnet that begins elsewhere.
    """
    match = _KEY.search(text)
    if not match:
        raise LeaseError(f"lease key {quote(text)}", "is not a subnet", _KEY_EXAMPLE)
    v4_text, v4_len, v6_text, v6_len = match.groups()
    try:
        v4 = _parse_v4(v4_text, v4_len)
        v6 = _parse_v6(v6_text, v6_len) if v6_text is not None else None
        return Subnets(v4, v6)
    except AddressError as error:
        raise LeaseError(
            f"lease key {quote(text)}", f"{error.subject}: {error.cause}", _KEY_EXAMPLE
        ) from None
    except LeaseError as error:
        raise LeaseError(f"lease key {quote(text)}", error.cause, error.next_step) from None


def _parse_v4(address_text: str, length_text: str) -> Optional[IPv4Network]:
    address = parse_ipv4(address_text)
    length = _parse_length(length_text, _LONGEST_V4)
    if length == 0 and int(address) == 0:
        return None
    network = make_ipv4(_clear_host_bits(address, length), length)
    _require_no_host_bits(address, network)
    return network


def _parse_v6(address_text: str, length_text: str) -> Optional[IPv6Network]:
    address = parse_ipv6(address_text)
    length = _parse_length(length_text, _LONGEST_V6)
    if length == 0 and int(address) == 0:
        return None
    network = make_ipv6(_clear_host_bits(address, length), length)
    _require_no_host_bits(address, network)
    return network


def _parse_length(text: str, longest: int) -> int:
    digits = text.lstrip("0") or "0"
    if len(digits) > 3 or int(digits) > longest:
        raise LeaseError("lease key", f"the length {text[:10]} is more than {longest}", _KEY_EXAMPLE)
    return int(digits)


def _clear_host_bits(address: Address, length: int) -> int:
    size = 1 << (address.max_prefixlen - length)
    return int(address) // size * size


def _require_no_host_bits(address: Address, network: Network) -> None:
    if address != network.network_address:
        raise LeaseError(
            "lease key",
            f"{address} is not the first address of a /{network.prefixlen}",
            f"write {network.network_address}-{network.prefixlen}",
        )


def format_key(subnets: Subnets) -> str:
    """The lease key of those subnets, as parse_key reads it."""
    return subnets.key


@dataclass(frozen=True)
class Attributes:
    """What a lease publishes about its host (spec 2.3).

    backend_data, backend_v6_data: JSON text, compact after parse_value; what it means is for the backend to say.
    """

    public_ip: Optional[IPv4Address] = None
    public_ipv6: Optional[IPv6Address] = None
    backend_type: str = ""
    backend_data: Optional[str] = None
    backend_v6_data: Optional[str] = None

    def public_address(self, family: Family) -> Optional[Address]:
        """The public IP of that family, or None."""
        return self.public_ip if family == IPV4 else self.public_ipv6

    def data(self, family: Family) -> Optional[str]:
        """The backend data of that family, or None."""
        return self.backend_data if family == IPV4 else self.backend_v6_data


_VALUE_KEYS = ("PublicIP", "PublicIPv6", "BackendType", "BackendData", "BackendV6Data")
_VALUE_SPELLING = {fold(key): key for key in _VALUE_KEYS}
_VALUE_EXAMPLE = 'write the value as {"PublicIP":"192.168.64.3","PublicIPv6":null}'


@lru_cache(maxsize=_REMEMBERED)
def parse_value(text: Union[str, bytes]) -> Attributes:
    """The attributes in a lease value, any key order, case and spacing (spec 2.3). Raises LeaseError.

    Missing keys are what old writers leave out; an unspecified address ("0.0.0.0", "::") means none.
    """
    raw: Dict[str, str] = {}
    try:
        for key, value in read_members(text):
            known = _VALUE_SPELLING.get(fold(key))
            # null leaves a plain Go string as it was.
            if known is not None and not (known == "BackendType" and value == "null"):
                raw[known] = value
        return Attributes(
            public_ip=_read_public_ip(decode(raw.get("PublicIP", '"0.0.0.0"'))),
            public_ipv6=_read_public_ipv6(decode(raw.get("PublicIPv6", "null"))),
            backend_type=_read_backend_type(decode(raw.get("BackendType", '""'))),
            backend_data=_read_backend_data(raw.get("BackendData")),
            backend_v6_data=_read_backend_data(raw.get("BackendV6Data")),
        )
    except ValueError as error:
        raise LeaseError("lease value", f"is not a JSON object: {error}", _VALUE_EXAMPLE) from None


def _read_public_ip(value: Value) -> Optional[IPv4Address]:
    try:
        address = parse_ipv4(_require_string("PublicIP", value))
    except AddressError as error:
        raise LeaseError(
            "lease value", f"PublicIP is {quote(value)}: {error.cause}", error.next_step
        ) from None
    return None if address.is_unspecified else address


def _read_public_ipv6(value: Value) -> Optional[IPv6Address]:
    if value is None:
        return None
    try:
        address = parse_ipv6(_require_string("PublicIPv6", value))
    except AddressError as error:
        raise LeaseError(
            "lease value", f"PublicIPv6 is {quote(value)}: {error.cause}", error.next_step
        ) from None
    return None if address.is_unspecified else address


def _read_backend_type(value: Value) -> str:
    return _require_string("BackendType", value)


def _require_string(key: str, value: Value) -> str:
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    raise LeaseError("lease value", f"{key} is {quote(value)}, not a string", _VALUE_EXAMPLE)


def _read_backend_data(raw: Optional[str]) -> Optional[str]:
    return None if raw is None or raw == "null" else squeeze(raw)


def format_value(attributes: Attributes) -> str:
    """The lease value, byte for byte as upstream writes it. Raises LeaseError if backend data is not JSON."""
    members = [
        f'"PublicIP":"{attributes.public_ip or "0.0.0.0"}"',
        f'"PublicIPv6":"{attributes.public_ipv6}"' if attributes.public_ipv6 else '"PublicIPv6":null',
    ]
    if attributes.backend_type:
        members.append(f'"BackendType":{encode(attributes.backend_type)}')
    for key, data in (
        ("BackendData", attributes.backend_data),
        ("BackendV6Data", attributes.backend_v6_data),
    ):
        if data is not None:
            members.append(f'"{key}":{_compact_data(key, data)}')
    return "{" + ",".join(members) + "}"


def _compact_data(key: str, data: str) -> str:
    try:
        return compact(data)
    except ValueError as error:
        raise LeaseError(
            "lease value", f"{key} is not JSON: {error}", "publish backend data as one JSON text"
        ) from None


@dataclass(frozen=True)
class Lease:
    """One lease or reservation as it stands in etcd. Revisions and lease_id are etcd's; 0 where not yet written."""

    subnets: Subnets
    attributes: Attributes
    create_revision: int = 0
    mod_revision: int = 0
    lease_id: int = 0

    @property
    def key(self) -> str:
        """The key below "subnets/"."""
        return self.subnets.key

    @property
    def is_reservation(self) -> bool:
        """A key without an etcd lease never expires (spec 2.6)."""
        return self.lease_id == 0


@dataclass(frozen=True)
class Layout:
    """Where things are in etcd (spec 2.1). Make it with from_prefix."""

    prefix: str

    @classmethod
    def from_prefix(cls, prefix: str) -> Layout:
        """Cleans the prefix as Go's path.Join does; a missing leading slash stays missing."""
        cleaned = posixpath.normpath(re.sub("/+", "/", prefix))
        return cls("" if cleaned == "." else cleaned)

    @property
    def config(self) -> str:
        return posixpath.join(self.prefix, "config")

    @cached_property
    def subnets(self) -> str:
        return posixpath.join(self.prefix, "subnets/")

    @property
    def nodes(self) -> str:
        return posixpath.join(self.prefix, "nodes/")

    def subnet_key(self, subnets: Subnets) -> str:
        """The full key of a lease."""
        return self.subnets + format_key(subnets)

    def node_key(self, identity: str) -> str:
        """The full key of the entry of the node with that id."""
        return self.nodes + identity


def lease_from_item(layout: Layout, item: KeyValue) -> Lease:
    """The lease an etcd item holds. Raises LeaseError naming the key.

    Stricter than parse_key: the key has to be the one we would write, because a lease is renewed and deleted by it.
    """
    try:
        subnets = parse_key(
            item.key[len(layout.subnets) :] if item.key.startswith(layout.subnets) else item.key
        )
        attributes = parse_value(item.value)
    except LeaseError as error:
        raise LeaseError(f"lease {quote(item.key)}", error.cause, error.next_step) from None
    if item.key != layout.subnet_key(subnets):
        raise LeaseError(
            f"lease {quote(item.key)}",
            f"its key is not the usual one for {format_key(subnets)}",
            f"move the value to {layout.subnet_key(subnets)}",
        )
    return Lease(subnets, attributes, item.create_revision, item.mod_revision, item.lease_id)
