# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent writes down for its next life, and the text it is written as: one JSON object with a version.

Leases are written as etcd has them (key and value, spec 2.2, 2.3), so that there is one way to read a lease.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple, cast

from ansible_collections.weft.flannel.plugins.module_utils._config import parse_config
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._lease import (
    Lease,
    format_key,
    format_value,
    parse_key,
    parse_value,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES

from flanneld.leasing import KnownPeers
from flanneld.tables.extension import Hook

VERSION = 1

_ID = re.compile(r"[0-9a-f]{32}")
_REVISION = 1 << 63
_CLUSTER_ID = 1 << 64


class Damaged(Exception):
    """A text is not what we write."""


@dataclass(frozen=True)
class RememberedIdentity:
    """The id of a host, and which machine it was made for (see name_machine)."""

    id: str
    machine: str


@dataclass(frozen=True)
class RememberedLease:
    """Our lease, enough to serve it before the store answers.

    config: the text of the network config it was leased under. until: seconds since the epoch, by this host's clock,
    until which the store granted it; None for a reservation, which has no end.
    """

    config: str
    lease: Lease
    cluster_id: int
    until: Optional[float]

    def stands_at(self, now: float) -> bool:
        """Whether the store should still have it. now: seconds since the epoch."""
        return self.until is None or now < self.until

    def was_lost(self, acquired: Lease, config: str, now: float) -> bool:
        """Whether the store forgot this lease before its time, given what it has leased to us now.

        A new lease says nothing under another network config, nor when only one family of it is new.
        """
        if config != self.config or not self.stands_at(now):
            return False
        if acquired.key != self.lease.key and self._shares_subnet(acquired):
            return False
        return acquired.create_revision != self.lease.create_revision

    def _shares_subnet(self, other: Lease) -> bool:
        return any(
            self.lease.subnets.of(family) is not None
            and self.lease.subnets.of(family) == other.subnets.of(family)
            for family in FAMILIES
        )


def format_identity(identity: RememberedIdentity) -> str:
    return _format({"id": identity.id, "machine": identity.machine})


def parse_identity(text: str) -> RememberedIdentity:
    """Raises Damaged."""
    document = _parse(text)
    host_id, machine = _text(document, "id"), _text(document, "machine")
    if not _ID.fullmatch(host_id) or not (machine == "" or _ID.fullmatch(machine)):
        raise Damaged("an id is not 32 hexadecimal digits")
    return RememberedIdentity(host_id, machine)


def format_remembered_lease(remembered: RememberedLease) -> str:
    return _format(
        {
            "config": remembered.config,
            "lease": _lease_to_row(remembered.lease),
            "cluster_id": remembered.cluster_id,
            "until": remembered.until,
        }
    )


def parse_remembered_lease(text: str) -> RememberedLease:
    """Raises Damaged."""
    document = _parse(text)
    config, until = _text(document, "config"), document.get("until")
    try:
        config.encode()
        parse_config(config)
    except (ValueError, FlannelError) as error:
        raise Damaged("its network config cannot be used") from error
    if until is not None:
        # which NaN, infinity and an int too large for a float are not
        if type(until) not in (int, float) or not 0 <= until < _REVISION:
            raise Damaged("until is not a time")
        until = float(until)
    return RememberedLease(
        config,
        _lease_from_row(document.get("lease")),
        _number(document.get("cluster_id"), _CLUSTER_ID),
        until,
    )


def format_peers(known: KnownPeers) -> str:
    return _format(
        {
            "cluster_id": known.cluster_id,
            "revision": known.revision,
            "leases": [_lease_to_row(lease) for lease in known.leases],
        }
    )


def parse_peers(text: str) -> KnownPeers:
    """Raises Damaged."""
    document = _parse(text)
    rows = document.get("leases")
    if not isinstance(rows, list):
        raise Damaged("leases is not a list")
    leases = tuple(_lease_from_row(row) for row in rows)
    if len({lease.key for lease in leases}) != len(leases):
        raise Damaged("a lease is in it twice")
    return KnownPeers(
        leases,
        _number(document.get("revision"), _REVISION),
        _number(document.get("cluster_id"), _CLUSTER_ID),
    )


def format_hooks(hooks: Sequence[Hook]) -> str:
    """Commands may hold secrets: the file is for root alone, as all of them."""
    return _format(
        {
            "hooks": [
                {
                    "name": hook.name,
                    "command": hook.command,
                    "undo": hook.undo,
                    "variables": dict(hook.variables),
                    "data": hook.data,
                    "life": hook.life,
                    "done": hook.done,
                }
                for hook in hooks
            ]
        }
    )


def parse_hooks(text: str) -> Tuple[Hook, ...]:
    """Raises Damaged."""
    rows = _parse(text).get("hooks")
    if not isinstance(rows, list):
        raise Damaged("hooks is not a list")
    hooks = tuple(_hook_from_row(row) for row in rows)
    if len({hook.key for hook in hooks}) != len(hooks):
        raise Damaged("a command was run for one peer twice")
    return hooks


def _hook_from_row(row: object) -> Hook:
    if not isinstance(row, dict) or not isinstance(row.get("done"), bool):
        raise Damaged("a command is not an object that says whether it is done")
    variables = row.get("variables")
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        raise Damaged("variables is not an object of strings")
    name, command, undo, data, life = (_text(row, key) for key in ("name", "command", "undo", "data", "life"))
    return Hook(name, command, undo, tuple(variables.items()), data, life, row["done"])


def _format(members: Dict[str, Any]) -> str:
    return json.dumps({"version": VERSION, **members}, separators=(",", ":"), allow_nan=False) + "\n"


def _parse(text: str) -> Dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged("it is not JSON") from error
    if not isinstance(document, dict):
        raise Damaged("it is not a JSON object")
    version = document.get("version")
    if not _is_number(version) or version != VERSION:
        raise Damaged(f"it is not of version {VERSION}")
    return document


def _text(document: Dict[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        raise Damaged(f"{key} is not a string")
    return value


def _number(value: object, end: int) -> int:
    """A number from 0 to less than end."""
    if not isinstance(value, int) or not _is_number(value) or not 0 <= value < end:
        raise Damaged("a revision or id is not a number in its range")
    return value


def _is_number(value: object) -> bool:
    """True and false are numbers in Python, but not in JSON."""
    return isinstance(value, int) and not isinstance(value, bool)


def _lease_to_row(lease: Lease) -> List[object]:
    return [
        lease.key,
        format_value(lease.attributes),
        lease.create_revision,
        lease.mod_revision,
        lease.lease_id,
    ]


def _lease_from_row(row: object) -> Lease:
    if not isinstance(row, list) or len(row) != 5 or not all(isinstance(text, str) for text in row[:2]):
        raise Damaged("a lease is not key, value, revisions and etcd lease")
    key, value = cast(Tuple[str, str], tuple(row[:2]))
    create, mod, lease_id = (_number(number, _REVISION) for number in row[2:])
    try:
        lease = Lease(parse_key(key), parse_value(value), create, mod, lease_id)
    except FlannelError as error:
        raise Damaged(f"{error.subject}: {error.cause}") from error
    if format_key(lease.subnets) != key:
        raise Damaged("a lease has another key than its subnets have")
    return lease
