# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""udp: a TUN, and a thread that puts its packets into UDP datagrams as they are, and back (spec 5.4). IPv4 only."""

from __future__ import annotations

import errno
import ipaddress
from typing import Hashable, Iterable, Iterator, Mapping, Optional, Sequence

from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._interface import InterfaceChoice
from ansible_collections.weft.flannel.plugins.module_utils._lease import Attributes, Lease
from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, Address, Family

from flanneld.backends import BackendError, Host, Node
from flanneld.instance import Instance
from flanneld.tables import Object, Table
from flanneld.tables.address import LinkAddress
from flanneld.tables.route import Route
from flanneld.tables.scope import Scope
from flanneld.tables.tun_link import TunLink
from flanneld.tables.udp import UdpPath, UdpPeer, make_user_space
from flanneld.tables.underlay import Underlay
from flanneld.udp.tun import DEVICE, probe

OVERHEAD = 28
"""Bytes around an inner packet: outer IPv4 20, UDP 8."""


def _port(config: NetworkConfig) -> int:
    value = config.backend.options["Port"]
    return value if isinstance(value, int) else 0


def prepare(host: Host, config: NetworkConfig) -> None:
    if not _port(config):
        cause = "Backend.Port is 0, and the others could not know which port that becomes"
        raise ConfigError("network config", cause, "leave Port out, which means 8285, or write a number")
    try:
        probe()
    except OSError as error:
        raise _explain_no_tun(error) from error
    host.remember_device(host.instance.tun_device)


def _explain_no_tun(error: OSError) -> BackendError:
    if error.errno in (errno.EPERM, errno.EACCES):
        cause = f"{DEVICE} may not be opened: {error.strerror}"
        step = (
            "let the service have it (systemd: DeviceAllow=/dev/net/tun rw, PrivateDevices=no; the role does)"
        )
    else:
        cause = f"the kernel has no tun ({DEVICE}: {error.strerror})"
        step = "load the kernel module (modprobe tun), or choose another backend in the network config"
    return BackendError("udp on this host", cause, step)


def attributes(local: None, choice: InterfaceChoice, config: NetworkConfig) -> Attributes:
    return Attributes(public_ip=choice.public_ip)


def devices(instance: Instance, config: NetworkConfig) -> Mapping[Family, str]:
    return {IPV4: instance.tun_device}


def overhead(config: NetworkConfig, family: Family) -> int:
    return OVERHEAD


def tables(instance: Instance, scope: Scope) -> Sequence[Table]:
    return make_user_space(instance.tun_device, scope.user_space)


def mtu(config: NetworkConfig, underlay: int) -> int:
    return underlay - OVERHEAD


def desired(node: Node, underlay: Underlay) -> Iterator[Object]:
    device, subnet, pool = node.instance.tun_device, node.lease.subnets.v4, node.config.ipv4
    local = node.choice.ipv4
    if subnet is None or pool is None or local is None:
        return
    yield TunLink(device, mtu(node.config, underlay.mtu))
    # the network address, not the first usable one: that belongs to the container bridge
    yield LinkAddress(device, ipaddress.ip_interface((subnet.network_address, IPV4.bits)))
    yield UdpPath(device, local, _port(node.config), subnet.network_address)
    yield Route(pool.network, None, device)


def find_address(node: Node, peer: Lease, family: Family) -> Optional[Address]:
    return peer.attributes.public_address(family)


def refuse(peer: Lease, family: Family) -> Optional[str]:
    """Leases of every BackendType are peers, and those without one: this backend's own lease has none."""
    return None


def claims(peer: Lease, family: Family) -> Iterable[Hashable]:
    return ()


def desired_for(node: Node, peer: Lease, underlay: Underlay) -> Iterator[Object]:
    subnet, public = peer.subnets.v4, peer.attributes.public_ip
    if subnet is not None and public is not None:
        yield UdpPeer(node.instance.tun_device, subnet, public)
