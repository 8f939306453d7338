# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The network config: from JSON to checked values, and to canonical JSON (spec 1).

Read as upstream reads it (Go's encoding/json, spec 1.1), because one text in etcd steers both daemons.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from ansible_collections.weft.flannel.plugins.module_utils._backends import BACKENDS, BackendKey, OptionValue
from ansible_collections.weft.flannel.plugins.module_utils._errors import AddressError, ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._gojson import (
    Number,
    Value,
    decode,
    encode,
    fold,
    name_kind,
    quote,
    read_members,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import (
    FAMILIES,
    IPV4,
    IPV6,
    Address,
    AddressPool,
    Family,
    Network,
    family_of,
    parse_address,
    parse_cidr,
    parse_ipv4,
    parse_ipv4_cidr,
)

__all__ = [
    "BACKENDS",
    "BackendConfig",
    "BackendKey",
    "NetworkConfig",
    "OptionValue",
    "canonical",
    "load_document",
    "parse_config",
    "unknown_keys",
]


@dataclass(frozen=True)
class BackendConfig:
    """type: canonical lower-case name; options: every key of BACKENDS[type], defaults filled in.

    The options stay out of repr(): some are secrets.
    """

    type: str
    options: Mapping[str, OptionValue] = field(default_factory=dict, repr=False, hash=False)


@dataclass(frozen=True)
class NetworkConfig:
    """A checked network config. A family that is off has no pool.

    backend_was_absent: the config names no backend, which means udp although upstream's documentation says vxlan
    (spec 10-A A29); whoever uses the config warns about it.
    """

    ipv4: Optional[AddressPool]
    ipv6: Optional[AddressPool]
    enable_nftables: bool
    backend: BackendConfig
    backend_was_absent: bool = False

    def pool(self, family: Family) -> Optional[AddressPool]:
        """What that family hands out, or None when it is off."""
        return self.ipv4 if family == IPV4 else self.ipv6

    @cached_property
    def families(self) -> Tuple[Family, ...]:
        """The families that are on, IPv4 first."""
        return tuple(family for family in FAMILIES if self.pool(family) is not None)

    @property
    def underlay_families(self) -> Tuple[Family, ...]:
        """The families that a host needs an address of: those that are on, and the one that all packets travel in,
        where wireguard's Mode names one (spec 5.7)."""
        outer = {"ipv4": IPV4, "ipv6": IPV6}.get(str(self.backend.options.get("Mode")))
        return tuple(family for family in FAMILIES if family in self.families or family is outer)


def parse_config(text: Union[str, bytes]) -> NetworkConfig:
    """A network config, checked in upstream's order: JSON, types, IPv4 (spec 1.3), IPv6 (1.4), last the backend.

    Raises ConfigError with subject "network config", and in the cause upstream's words where it has any.
    """
    values = _read_values("", _open_object("", text), _READERS)
    backend: Optional[str] = values.get("Backend")
    backend_members = _open_object("Backend", backend) if backend is not None else []
    backend_type: str = _read_values("Backend.", backend_members, {"Type": _read_string}).get("Type", "")
    ipv4_on, ipv6_on = values.get("EnableIPv4", True), values.get("EnableIPv6", False)
    if not ipv4_on and not ipv6_on:
        raise _fault("none defined stack", "set EnableIPv4 or EnableIPv6 to true")
    return NetworkConfig(
        ipv4=_make_pool(_IPV4_RULES, values) if ipv4_on else None,
        ipv6=_make_pool(_IPV6_RULES, values) if ipv6_on else None,
        enable_nftables=values.get("EnableNFTables", False),
        backend=_make_backend("udp" if backend is None else backend_type.lower(), backend_members),
        backend_was_absent=backend is None,
    )


def load_document(text: Union[str, bytes]) -> Dict[str, Any]:
    """A network config as plain values, with known keys in canonical spelling and duplicates merged as Go does.

    Unknown keys stay. Nothing but the syntax is checked (ConfigError); canonical() takes the result.
    """
    merged = _merge(_open_object("", text), _READERS)
    document = {key: _load_plain(raw) for key, raw in merged.items()}
    if isinstance(document.get("Backend"), dict):
        members = _open_object("Backend", merged["Backend"])
        backend_type = _load_plain(_merge(members, ["Type"]).get("Type", "null"))
        merged = _merge(members, _name_backend_keys(backend_type))
        document["Backend"] = {key: _load_plain(raw) for key, raw in merged.items()}
    return document


def unknown_keys(text: Union[str, bytes]) -> Tuple[str, ...]:
    """The keys that no rule knows and canonical() drops, as dotted paths ("Backend.ShutdownCommand").

    Below a backend type that is itself unknown every key but Type is unknown. Raises ConfigError (syntax).
    """
    document = load_document(text)
    paths = [key for key in document if key not in _READERS]
    backend = document.get("Backend")
    if isinstance(backend, dict):
        known = _name_backend_keys(backend.get("Type"))
        paths.extend(f"Backend.{key}" for key in backend if key not in known)
    return tuple(paths)


def canonical(document: Mapping[str, Any]) -> str:
    """Compact JSON of a network config: known keys in canonical spelling and in the order of spec 1.2 and 1.6.

    Unknown keys and None are dropped. Values stay as they are, but the backend type is put in lower case.
    """
    ordered = _order(document, list(_READERS))
    backend = ordered.get("Backend")
    if isinstance(backend, Mapping):
        backend_type = _order(backend, ["Type"]).get("Type")
        ordered["Backend"] = _order(backend, _name_backend_keys(backend_type))
        if isinstance(backend_type, str):
            ordered["Backend"]["Type"] = backend_type.lower()
    return encode(ordered)


def _name_backend_keys(backend_type: object) -> List[str]:
    known = BACKENDS.get(backend_type.lower(), {}) if isinstance(backend_type, str) else {}
    return ["Type", *known]


def _order(document: Mapping[str, Any], names: Sequence[str]) -> Dict[str, Any]:
    by_fold = {fold(key): value for key, value in document.items() if value is not None}
    return {name: by_fold[fold(name)] for name in names if fold(name) in by_fold}


def _load_plain(raw: str) -> Any:
    try:
        return json.loads(raw, parse_float=str)
    except (ValueError, RecursionError):
        raise _fault("holds a number or a nesting beyond any use", "remove the key that holds it") from None


# --- JSON as Go reads it ---

Members = List[Tuple[str, str]]
Reader = Callable[[str, Value], Any]

_UNSIGNED_TEXT = re.compile(r"0|[1-9][0-9]{0,19}")
_INTEGER_TEXT = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")


def _fault(cause: str, next_step: str) -> ConfigError:
    return ConfigError("network config", cause, next_step)


def _open_object(path: str, text: Union[str, bytes]) -> Members:
    try:
        return read_members(text)
    except ValueError as error:
        where = f"{path}: " if path else ""
        raise _fault(
            f"{where}not a JSON object: {error}", 'write one such as {"Network":"10.5.0.0/16"}'
        ) from None


def _merge(members: Members, names: Iterable[str]) -> Dict[str, str]:
    """Source text by key, under the canonical spelling if the key is one of names; the last one wins."""
    spelling = {fold(name): name for name in names}
    merged: Dict[str, str] = {}
    for key, raw in members:
        name = spelling.get(fold(key), key)
        if raw != "null" or name not in merged or name in _NULL_IS_A_VALUE:
            merged[name] = raw
    return merged


def _read_values(prefix: str, members: Members, readers: Mapping[str, Reader]) -> Dict[str, Any]:
    """What the keys hold. Every duplicate is checked, as in Go, and the last one wins."""
    spelling = {fold(name): name for name in readers}
    values: Dict[str, Any] = {}
    for key, raw in members:
        name = spelling.get(fold(key))
        if name == "Backend":
            values[name] = raw
        elif name is not None and (raw != "null" or name in _NULL_IS_A_VALUE):
            values[name] = readers[name](prefix + name, decode(raw))
    return values


def _read_bool(path: str, value: Value) -> bool:
    if isinstance(value, bool):
        return value
    raise _wrong_kind(path, "true or false", value, "write it without quotes")


def _read_unsigned(path: str, value: Value) -> int:
    if isinstance(value, Number) and _UNSIGNED_TEXT.fullmatch(value) and int(value) < 1 << 64:
        return int(value)
    raise _wrong_kind(
        path, "a whole number of 0 or more", value, "write it as digits without quotes, such as 24"
    )


def _read_integer(path: str, value: Value) -> int:
    if isinstance(value, Number) and _INTEGER_TEXT.fullmatch(value) and -(1 << 63) <= int(value) < 1 << 63:
        return int(value)
    raise _wrong_kind(path, "a whole number", value, "write it as digits without quotes, such as 1")


def _read_string(path: str, value: Value) -> str:
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    raise _wrong_kind(path, "a string", value, "write it in double quotes")


def _read_strings(path: str, value: Value) -> Tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(_read_string(path, item) for item in items)


def _wrong_kind(path: str, expected: str, value: Value, next_step: str) -> ConfigError:
    return _fault(f"{path} must be {expected}, not {quote(value)}", next_step)


def _read_address_text(parse: Callable[[str], Any], unreadable: str) -> Reader:
    def read(path: str, value: Value) -> Any:
        if not isinstance(value, str):
            raise _fault(
                f"{path}: {unreadable}: {quote(value)}", f"write {path} in double quotes, or leave it out"
            )
        try:
            return parse(value)
        except AddressError as error:
            raise _fault(f"{path}: {error.cause}: {quote(value)}", error.next_step) from None

    return read


def _read_ipv6_bound(path: str, value: Value) -> Optional[Address]:
    return None if value is None else _read_bound(path, value)


_read_bound = _read_address_text(parse_address, "invalid IP address format")

# In the order of spec 1.2, which is the order of canonical JSON. IPv6 values are read with the family left open, as
# upstream does: what a switched-off family holds must not invalidate the config.
_READERS: Mapping[str, Reader] = {
    "EnableIPv4": _read_bool,
    "EnableIPv6": _read_bool,
    "EnableNFTables": _read_bool,
    "Network": _read_address_text(parse_ipv4_cidr, "invalid CIDR address"),
    "SubnetLen": _read_unsigned,
    "SubnetMin": _read_address_text(parse_ipv4, "invalid IP address format"),
    "SubnetMax": _read_address_text(parse_ipv4, "invalid IP address format"),
    "IPv6Network": _read_address_text(parse_cidr, "invalid CIDR address"),
    "IPv6SubnetLen": _read_unsigned,
    "IPv6SubnetMin": _read_ipv6_bound,
    "IPv6SubnetMax": _read_ipv6_bound,
    "Backend": lambda path, value: value,
}
# Go leaves a plain field alone at null, but these have parsers of their own, which see it.
_NULL_IS_A_VALUE = frozenset(
    {"Network", "SubnetMin", "SubnetMax", "IPv6Network", "IPv6SubnetMin", "IPv6SubnetMax", "Backend"}
)


# --- Address pools (spec 1.3, 1.4) ---


@dataclass(frozen=True)
class _PoolRules:
    """What differs between spec 1.3 and 1.4."""

    family: Family
    key_prefix: str
    longest_subnet: int
    smallest_network: int
    too_small: str
    usual_subnet: int


_IPV4_RULES = _PoolRules(IPV4, "", 30, 28, "network is too small", 24)
_IPV6_RULES = _PoolRules(IPV6, "IPv6", 126, 124, "IPv6Network is too small", 64)


def _make_pool(rules: _PoolRules, values: Mapping[str, Any]) -> AddressPool:
    network = _require_network(rules, values)
    subnet_len = _choose_subnet_len(rules, network, values.get(f"{rules.key_prefix}SubnetLen", 0))
    size = 1 << (rules.family.bits - subnet_len)
    # Never the first subnet by default: a device that holds the network address itself misbehaves.
    lowest = rules.family.address(int(network.network_address) + size)
    highest = rules.family.address(int(network.broadcast_address) + 1 - size)
    bounds = {}
    for key, default in (("SubnetMin", lowest), ("SubnetMax", highest)):
        bound: Optional[Address] = values.get(rules.key_prefix + key)
        bounds[key] = default if bound is None or bound.is_unspecified else bound
        if bounds[key] not in network:
            raise _fault(
                f"{rules.key_prefix}{key} is not in the range of the {rules.key_prefix}Network",
                f"write an address inside {network}, or leave {rules.key_prefix}{key} out",
            )
    for key, bound in bounds.items():
        if int(bound) % size:
            boundary = rules.family.address(int(bound) // size * size)
            raise _fault(
                f"{rules.key_prefix}{key} is not on a SubnetLen boundary: {bound}",
                f"write {boundary}, where a /{subnet_len} begins",
            )
    return AddressPool(network, subnet_len, bounds["SubnetMin"], bounds["SubnetMax"])


def _require_network(rules: _PoolRules, values: Mapping[str, Any]) -> Network:
    key = f"{rules.key_prefix}Network"
    network: Optional[Network] = values.get(key)
    if network is None or (network.prefixlen == 0 and int(network.network_address) == 0):
        raise _fault(
            f"please define a correct {key} parameter in the flannel config",
            f'write {key}, such as "{"10.5.0.0/16" if rules.family == IPV4 else "fd00:5::/48"}"',
        )
    if family_of(network) != rules.family:
        raise _fault(f'{key}: invalid IPv6 CIDR format: "{network}"', 'write a network such as "fd00:5::/48"')
    return network


def _choose_subnet_len(rules: _PoolRules, network: Network, subnet_len: int) -> int:
    # At least four subnets, of which the first is not used by default.
    shortest = network.prefixlen + 2
    if subnet_len == 0:
        if network.prefixlen > rules.smallest_network:
            raise _fault(
                f"{rules.too_small}. Minimum useful network prefix is /{rules.smallest_network}",
                f"widen {network} to /{rules.smallest_network} or more addresses",
            )
        return max(rules.usual_subnet, shortest)
    if subnet_len > rules.longest_subnet:
        raise _fault(
            f"SubnetLen must be less than /{rules.longest_subnet + 1}",
            f"write a {rules.key_prefix}SubnetLen between {shortest} and {rules.longest_subnet}, or leave it out",
        )
    if subnet_len < shortest:
        raise _fault(
            "network must be able to accommodate at least four subnets",
            f"write a {rules.key_prefix}SubnetLen of {shortest} or more for {network}, or leave it out",
        )
    return subnet_len


# --- Backends (spec 1.6) ---


def _make_backend(backend_type: str, members: Members) -> BackendConfig:
    if backend_type not in BACKENDS:
        raise _fault(
            f"unknown backend type: {backend_type[:80]}", f"set Backend.Type to one of {', '.join(BACKENDS)}"
        )
    keys = BACKENDS[backend_type]
    readers = {name: partial(_read_option, key) for name, key in keys.items()}
    given = _read_values("Backend.", members, readers)
    # Defaults are checked too: some backends cannot do without a key.
    options = {
        name: _check_option(key, f"Backend.{name}", given.get(name, key.default))
        for name, key in keys.items()
    }
    return BackendConfig(backend_type, options)


def _read_option(key: BackendKey, path: str, value: Value) -> OptionValue:
    if key.secret and name_kind(value) != "a string":
        raise _fault(f"{path} must be a string, not {name_kind(value)}", "write it in double quotes")
    option: OptionValue = _KIND_READERS[key.kind](path, value)
    # 0 is "not set" for what comes from the host, as it is for SubnetLen.
    return key.default if option == 0 and key.default is None else option


def _check_option(key: BackendKey, path: str, option: OptionValue) -> OptionValue:
    if key.kind == "int" and isinstance(option, int) and not key.minimum <= option <= key.maximum:
        raise _fault(
            f"{path} is {option}, outside {key.minimum} to {key.maximum}: {key.reason}",
            f"write a number from {key.minimum} to {key.maximum}, or leave {path} out",
        )
    fault = key.find_fault(option) if key.find_fault is not None and isinstance(option, str) else None
    if fault is not None:
        raise _fault(f"{path}: {fault[0]}", fault[1])
    return option


_KIND_READERS: Mapping[str, Reader] = {
    "bool": _read_bool,
    "int": _read_integer,
    "str": _read_string,
    "list": _read_strings,
}
