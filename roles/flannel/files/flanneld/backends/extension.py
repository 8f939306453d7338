# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""extension: commands of the network config do for this host and for each peer what a backend would (spec 5.8).

They are run as root and come from etcd: only where the host itself allows that.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Hashable, Iterable, Iterator, Mapping, Optional, Sequence, Tuple

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._gojson import encode
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Address, Family

from flanneld.backends import BackendError, Host, Node
from flanneld.instance import Instance
from flanneld.tables import Object, Table
from flanneld.tables.commands import CommandError, run_command, split_command
from flanneld.tables.extension import NODE, ExtensionTable, Hook
from flanneld.tables.scope import Scope
from flanneld.tables.underlay import Underlay

PRE_STARTUP = "PreStartupCommand"


@dataclass(frozen=True)
class Local:
    """output: of PreStartupCommand, None without one. life: names this run of it; what others did before is done anew,
    because it may well have removed what they built upon."""

    output: Optional[str]
    life: str


def _command(config: NetworkConfig, key: str) -> str:
    """ "" for a line without a word."""
    text = str(config.backend.options[key])
    return text if split_command(text) else ""


def prepare(host: Host, config: NetworkConfig) -> Local:
    if not host.allows_commands:
        raise BackendError(
            "extension on this host",
            "the network config in etcd holds commands to be run as root, and this host does not allow that",
            "start flanneld with --allow-extension-commands (role: flannel_allow_extension_commands) if you trust all "
            "who can write to etcd, or set another Backend.Type",
        )
    command = _command(config, PRE_STARTUP)
    try:
        output = run_command(PRE_STARTUP, command, {}, "") if command else None
    except CommandError as error:
        raise BackendError(error.subject, error.cause, error.next_step) from error
    return Local(output, secrets.token_hex(8))


def attributes(local: Local, choice: InterfaceChoice, config: NetworkConfig) -> Attributes:
    return Attributes(
        public_ip=choice.public_ip if IPV4 in config.families else None,
        public_ipv6=choice.public_ipv6 if IPV6 in config.families else None,
        backend_type="extension",
        backend_data=None if local.output is None else encode(local.output),
    )


def devices(instance: Instance, config: NetworkConfig) -> Mapping[Family, str]:
    """What the commands make is theirs."""
    return {}


def overhead(config: NetworkConfig, family: Family) -> int:
    return 0


def tables(instance: Instance, scope: Scope) -> Sequence[Table]:
    return (ExtensionTable(scope.record),)


def mtu(config: NetworkConfig, underlay: int) -> int:
    return underlay


def desired(node: Node, underlay: Underlay) -> Iterator[Object]:
    command = _command(node.config, "PostStartupCommand")
    if command:
        network = node.config.ipv4.network if node.config.ipv4 is not None else "0.0.0.0/0"
        variables = (("NETWORK", str(network)), *_variables(node.lease))
        yield Hook(NODE, command, "", variables, life=node.local.life)


def _variables(lease: Lease) -> Tuple[Tuple[str, str], ...]:
    """Upstream's names, and its words for what is not there. It gives PostStartupCommand alone those of IPv6 (A20)."""
    return (
        ("SUBNET", str(lease.subnets.v4 or "0.0.0.0/0")),
        ("IPV6SUBNET", str(lease.subnets.v6 or "::/0")),
        ("PUBLIC_IP", str(lease.attributes.public_ip or "0.0.0.0")),
        ("PUBLIC_IPV6", str(lease.attributes.public_ipv6 or "<nil>")),
    )


def peer_data(peer: Lease) -> Optional[str]:
    """What the peer's PreStartupCommand printed, "" when it has none; None when the lease does not say it right."""
    try:
        data = json.loads(peer.attributes.backend_data or '""')
    except ValueError:
        return None
    return data if isinstance(data, str) else None


def find_address(node: Node, peer: Lease, family: Family) -> Optional[Address]:
    return peer.attributes.public_address(family)


def refuse(peer: Lease, family: Family) -> Optional[str]:
    if peer.attributes.backend_type != "extension":
        return f"BackendType is {peer.attributes.backend_type or 'missing'}, this host runs extension"
    if peer_data(peer) is None:
        return "BackendData is not a JSON string"
    return None


def claims(peer: Lease, family: Family) -> Iterable[Hashable]:
    return ()


def desired_for(node: Node, peer: Lease, underlay: Underlay) -> Iterator[Object]:
    add, remove = (_command(node.config, f"Subnet{what}Command") for what in ("Add", "Remove"))
    if add or remove:
        yield Hook(peer.key, add, remove, _variables(peer), peer_data(peer) or "", node.local.life)
