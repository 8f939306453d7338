# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""Data of flannel up to v0.17, which lie in etcd's v2 API (spec appendix B), brought to the v3 API."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from math import floor
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._change import ATTEMPTS, WriteConflict
from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig, parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import (
    ConfigError,
    LeaseError,
    OptionError,
    StoreError,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Attributes,
    Layout,
    Lease,
    Subnets,
    format_key,
    format_value,
    parse_key,
    parse_value,
)
from ansible_collections.weft.flannel.plugins.module_utils._network import (
    StoredNetwork,
    find_misfits,
    overlaps_any,
    read_network,
    same_host,
)
from ansible_collections.weft.flannel.plugins.module_utils._options import readable, secrets_of
from ansible_collections.weft.flannel.plugins.module_utils._store import Store

_HOW = "write it with: curl 'http://127.0.0.1:2379/v2/keys/coreos.com/network?recursive=true'"
_NAMED = 10


class ImportConflict(StoreError):
    """etcd holds something else than the export at the same place; nothing was written."""


@dataclass(frozen=True)
class ExportedLease:
    """One lease. seconds_left: None for a reservation, which does not end."""

    subnets: Subnets
    attributes: Attributes
    seconds_left: Optional[int]

    @property
    def key(self) -> str:
        """Below subnets/."""
        return format_key(self.subnets)


@dataclass(frozen=True)
class Export:
    """What of an export can be used. config: its text as it stands there. expired: keys of leases that have ended.

    left_out: key below subnets/ -> why it is no lease in this network.
    """

    config: str
    parsed: NetworkConfig
    leases: Tuple[ExportedLease, ...]
    expired: Tuple[str, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class ImportPlan:
    """What has to be written. kept: keys below subnets/ that are in etcd already, as exported or written by their host
    since."""

    needs_config: bool
    leases: Tuple[ExportedLease, ...]
    kept: Tuple[str, ...]

    @property
    def is_needed(self) -> bool:
        return self.needs_config or bool(self.leases)


# --- reading


def read_text(path: str) -> str:
    """The text of an export. Raises OptionError."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise OptionError(
            "option src", f"{path}: {error.strerror}", "name a file on the host where the module runs"
        ) from error


def read_export(text: str, prefix: str, now: datetime) -> Export:
    """What the v2 API answers to GET /v2/keys<prefix>?recursive=true, or that of any directory above.

    prefix: of the network in the export. Raises OptionError, and ConfigError for a config that no flanneld can use.
    """
    nodes = {node["key"]: node for node in _walk(_load(text))}
    base = "/" + prefix.strip("/")
    config = nodes.get(f"{base}/config")
    if config is None or not isinstance(config.get("value"), str):
        raise OptionError(
            "export",
            f"it has no key {base}/config; it has {', '.join(sorted(nodes)[:_NAMED]) or 'none at all'}",
            f"{_HOW}; or correct the option export_prefix",
        )
    parsed = parse_config(config["value"])
    leases: List[ExportedLease] = []
    expired: List[str] = []
    left_out: Dict[str, str] = {}
    for key, node in sorted(nodes.items()):
        name = key[len(f"{base}/subnets/") :]
        if not key.startswith(f"{base}/subnets/") or node.get("dir"):
            continue
        try:
            lease = _read_lease(name, node, now)
        except LeaseError as error:
            left_out[name] = error.cause
            continue
        if lease.seconds_left is not None and lease.seconds_left <= 0:
            expired.append(name)
        elif find_misfits(parsed, (Lease(lease.subnets, lease.attributes),)):
            left_out[name] = "it is of another network or backend than the config"
        else:
            leases.append(lease)
    return Export(config["value"], parsed, tuple(leases), tuple(expired), left_out)


def _load(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise OptionError("export", f"it is not JSON: {error}", _HOW) from None
    node = document.get("node", document) if isinstance(document, dict) else None
    if not isinstance(node, dict) or not isinstance(node.get("nodes", node.get("value")), (list, str)):
        cause = document.get("message") if isinstance(document, dict) else None
        raise OptionError(
            "export",
            f"it is no answer of etcd's v2 API{f' with keys, but an error: {cause}' if cause else ''}",
            _HOW,
        )
    return node


def _walk(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every key and directory. What is neither is passed over."""
    if isinstance(node, dict) and isinstance(node.get("key"), str):
        yield node
    children = node.get("nodes") if isinstance(node, dict) else None
    for child in children if isinstance(children, list) else ():
        yield from _walk(child)


def _read_lease(name: str, node: Mapping[str, Any], now: datetime) -> ExportedLease:
    """Raises LeaseError."""
    subnets = parse_key(name)
    if format_key(subnets) != name:
        raise LeaseError(f"lease key {name}", f"its usual form is {format_key(subnets)}", "rename it")
    attributes = parse_value(str(node.get("value", "")))
    return ExportedLease(subnets, attributes, _count_seconds(name, node, now))


def _count_seconds(name: str, node: Mapping[str, Any], now: datetime) -> Optional[int]:
    """By the time at which it ends; by the seconds at the time of the export where that is missing."""
    expiration, ttl = node.get("expiration"), node.get("ttl")
    if isinstance(expiration, str):
        # nine digits of a second, of which Python reads six
        text = re.sub(r"(\.[0-9]{1,6})[0-9]*", r"\1", expiration).replace("Z", "+00:00")
        # Python 3.9 reads three or six
        text = re.sub(r"\.([0-9]+)", lambda match: "." + match[1].ljust(6, "0"), text)
        try:
            ends = datetime.fromisoformat(text)
        except ValueError:
            raise LeaseError(
                f"lease key {name}", f"its expiration is {expiration!r}", "export it again"
            ) from None
        return floor((ends.replace(tzinfo=ends.tzinfo or timezone.utc) - now).total_seconds())
    return int(ttl) if isinstance(ttl, int) and ttl > 0 else None


# --- comparing and writing


def plan_import(export: Export, stored: StoredNetwork, layout: Layout) -> ImportPlan:
    """Compare the export with what etcd holds. Raises ImportConflict where they contradict each other."""
    conflicts: List[str] = []
    if stored.config is not None and not _is_same(stored.config.value, export.parsed):
        conflicts.append(f"{layout.config} is another network config")
    missing: List[ExportedLease] = []
    kept: List[str] = []
    for lease in export.leases:
        there = [one for one in stored.leases if overlaps_any(one.subnets, (lease.subnets,))]
        others = [one for one in stored.leases if same_host(one.attributes, lease.attributes, export.parsed)]
        foreign = [one for one in (*there, *others) if one.subnets != lease.subnets or one not in others]
        if foreign:
            theirs = foreign[0]
            conflicts.append(
                f"{lease.key} of {_name_host(lease.attributes)} against {theirs.key} of {_name_host(theirs.attributes)}"
            )
        elif there:
            kept.append(lease.key)
        else:
            missing.append(lease)
    if conflicts:
        more = f" and {len(conflicts) - _NAMED} more" if len(conflicts) > _NAMED else ""
        raise ImportConflict(
            f"etcd below {layout.prefix}",
            f"it holds something else than the export: {'; '.join(conflicts[:_NAMED])}{more}",
            "nothing was written; remove what is wrong there (weft.flannel.flannel_lease, flannel_network with "
            "state=absent), or import to another prefix",
        )
    return ImportPlan(stored.config is None, tuple(missing), tuple(kept))


def _is_same(value: bytes, config: NetworkConfig) -> bool:
    try:
        return parse_config(value) == config
    except ConfigError:
        return False


def _name_host(attributes: Attributes) -> str:
    return str(attributes.public_ip or attributes.public_ipv6 or "no public IP")


def apply_import(store: Store, layout: Layout, export: Export, is_allowed: Callable[[], bool]) -> ImportPlan:
    """Plan and write what is missing, never over a key that exists. The config comes last: no flanneld takes a subnet
    before all leases are there.

    is_allowed: asked before anything is written. Returns the first plan. Raises ImportConflict, WriteConflict,
    StoreError.
    """
    first: Optional[ImportPlan] = None
    for _attempt in range(ATTEMPTS):
        plan = plan_import(export, read_network(store, layout), layout)
        first = first or plan
        if not plan.is_needed or not is_allowed():
            return first
        written = [_write_lease(store, layout, lease) for lease in plan.leases]
        if all(written) and plan.needs_config:
            written.append(store.create(layout.config, export.config.encode()).succeeded)
        if all(written):
            return first
    raise WriteConflict(
        f"etcd below {layout.prefix}",
        f"somebody else wrote there during each of {ATTEMPTS} attempts",
        "find out who, and run again",
    )


def _write_lease(store: Store, layout: Layout, lease: ExportedLease) -> bool:
    """False when the key exists."""
    key, value = layout.subnet_key(lease.subnets), format_value(lease.attributes).encode()
    if lease.seconds_left is None:
        return store.create(key, value).succeeded
    lease_id = store.grant(lease.seconds_left)
    written = False
    try:
        written = store.create(key, value, lease_id).succeeded
    finally:
        if not written:
            with contextlib.suppress(StoreError):
                store.revoke(lease_id)
    return written


def describe_import(layout: Layout, export: Export, plan: ImportPlan) -> Dict[str, Any]:
    """The return values of flannel_import."""
    return {
        "changed": plan.is_needed,
        "config": layout.config,
        "leases": [
            {
                "key": layout.subnet_key(lease.subnets),
                "public_ip": None if lease.attributes.public_ip is None else str(lease.attributes.public_ip),
                "seconds_left": lease.seconds_left,
                "written": lease in plan.leases,
            }
            for lease in export.leases
        ],
        "expired": [layout.subnets + name for name in export.expired],
        "left_out": [
            {"key": layout.subnets + name, "reason": reason} for name, reason in export.left_out.items()
        ],
        "diff": _build_diff(layout, export, plan),
    }


def _build_diff(layout: Layout, export: Export, plan: ImportPlan) -> List[Dict[str, str]]:
    after = {
        layout.subnet_key(lease.subnets): json.dumps(
            {"reservation": lease.seconds_left is None, "value": json.loads(format_value(lease.attributes))},
            indent=2,
        )
        + "\n"
        for lease in plan.leases
    }
    if plan.needs_config:
        after[layout.config] = readable(export.config, secrets_of(export.config))
    return [
        {"before_header": key, "after_header": key, "before": "", "after": text}
        for key, text in after.items()
    ]
