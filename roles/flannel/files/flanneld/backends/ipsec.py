# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ipsec: tunnels that charon keeps up, and policies that let nothing leave but through them (spec 5.6). IPv4 only."""

from __future__ import annotations

import errno
import logging
from dataclasses import dataclass, field
from typing import Hashable, Iterable, Iterator, Mapping, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._backends import IPSEC_PSK_LENGTH
from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease
from ansible_collections.weft.flannel.plugins.module_utils._password import read_secret
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Address, Family

from flanneld.backends import BackendError, Host, Node
from flanneld.instance import Instance
from flanneld.tables import KernelError, Object, Table
from flanneld.tables.charon import Charon, find_program
from flanneld.tables.connection import Connection, ConnectionTable
from flanneld.tables.policy import REQID, Policy, PolicyTable
from flanneld.tables.scope import Scope
from flanneld.tables.shared_key import SharedKey, SharedKeyTable
from flanneld.tables.underlay import Underlay
from flanneld.tables.xfrm import Tunnel, has_esp

log = logging.getLogger(__name__)

OVERHEAD, OVERHEAD_UDP = 77, 85
"""Bytes around an inner packet at most: outer IPv4 20, ESP 8, IV 16, padding 15 + 1, next header 1, ICV 16; UDP 8."""


@dataclass(frozen=True)
class Local:
    """What all hosts of the network prove themselves with."""

    psk: str = field(repr=False)


def prepare(host: Host, config: NetworkConfig) -> Local:
    _require_esp()
    if find_program() is None:
        step = "install strongSwan's charon-systemd (the role does), or choose another backend"
        raise BackendError("ipsec on this host", "charon is not installed", step)
    psk = _read_psk(host, config)
    log.info("IPSec config: UDPEncap=%s ESPProposal=%s", str(_encap(config)).lower(), _esp_proposal(config))
    return Local(psk)


def _read_psk(host: Host, config: NetworkConfig) -> str:
    """That of this host's file, else that of the network config. Raises ConfigError, which does not show it."""
    psk, subject = str(config.backend.options["PSK"] or ""), "network config"
    if host.ipsec_psk_file:
        subject = f"pre-shared key file {host.ipsec_psk_file}"
        psk = read_secret(host.ipsec_psk_file, "key", subject, ConfigError)
    if len(psk.encode()) < IPSEC_PSK_LENGTH:
        step = "write 48 random octets in hexadecimal into Backend.PSK, or into a file for --ipsec-psk-file"
        raise ConfigError(
            subject, f"config error, password is too short{'' if psk else ': there is none'}", step
        )
    return psk


def _require_esp() -> None:
    """Raises BackendError."""
    subject = "ipsec on this host"
    step = "load the kernel modules (modprobe -a esp4 xfrm_user) or install them (the kernel's extra modules package)"
    try:
        found = has_esp()
    except KernelError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
            raise BackendError(subject, "kernel has no xfrm", step) from error
        raise BackendError(subject, error.cause, error.next_step) from error
    if not found:
        raise BackendError(subject, "kernel has no esp", step)


def _encap(config: NetworkConfig) -> bool:
    return bool(config.backend.options["UDPEncap"])


def _esp_proposal(config: NetworkConfig) -> str:
    return str(config.backend.options["ESPProposal"])


def attributes(local: Local, choice: InterfaceChoice, config: NetworkConfig) -> Attributes:
    return Attributes(public_ip=choice.public_ip, backend_type="ipsec")


def devices(instance: Instance, config: NetworkConfig) -> Mapping[Family, str]:
    return {}


def overhead(config: NetworkConfig, family: Family) -> int:
    return OVERHEAD_UDP if _encap(config) else OVERHEAD


def tables(instance: Instance, scope: Scope) -> Sequence[Table]:
    charon = Charon(instance.charon_socket, instance.charon_unit)
    return (PolicyTable(scope), SharedKeyTable(charon), ConnectionTable(charon))


def mtu(config: NetworkConfig, underlay: int) -> int:
    return underlay - overhead(config, IPV4)


def desired(node: Node, underlay: Underlay) -> Iterator[Object]:
    if node.choice.public_ip is not None:
        yield SharedKey(node.choice.public_ip, node.local.psk)


def find_address(node: Node, peer: Lease, family: Family) -> Optional[Address]:
    return peer.attributes.public_address(family)


def refuse(peer: Lease, family: Family) -> Optional[str]:
    if peer.attributes.backend_type != "ipsec":
        return f"BackendType is {peer.attributes.backend_type or 'missing'}, this host runs ipsec"
    return "ipsec carries IPv4 only" if family is IPV6 else None


def claims(peer: Lease, family: Family) -> Iterable[Hashable]:
    return ()


def desired_for(node: Node, peer: Lease, underlay: Underlay) -> Iterator[Object]:
    """Policies first. Our end is the address on the interface: behind NAT, nothing could leave from the public one."""
    ours, theirs = node.lease.subnets.v4, peer.subnets.v4
    local, remote, public = node.choice.ipv4, peer.attributes.public_ip, node.choice.public_ip
    if ours is None or theirs is None or local is None or remote is None:
        return
    out, back = Tunnel(local, remote, REQID), Tunnel(remote, local, REQID)
    yield Policy("out", ours, theirs, out)
    yield Policy("in", theirs, ours, back)
    yield Policy("fwd", theirs, ours, back)
    yield SharedKey(remote, node.local.psk)
    yield Connection(
        local,
        ours,
        theirs,
        remote,
        _esp_proposal(node.config),
        _encap(node.config),
        None if public == local else public,
    )
