# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of flannel's firewall chains (spec 6.1), to the byte as iptables-save prints them."""

from __future__ import annotations

from ansible_collections.weft.flannel.plugins.module_utils._subnet import IPV4, IPV6, Family, Network

from .tables.iptables import Chain

_MULTICAST = {IPV4: "224.0.0.0/4", IPV6: "ff00::/8"}
_MASQUERADE_COMMENT = '-m comment --comment "flanneld masq"'
_FORWARD_COMMENT = '-m comment --comment "flanneld forward"'


def masquerade_chain(
    family: Family, network: Network, subnet: Network, random_fully: bool, name: str
) -> Chain:
    """The nat chain: what leaves the flannel network is masqueraded, and so is a host that talks to remote pods.

    network: the flannel network; subnet: this host's. random_fully: this iptables knows the option.
    """
    comment = _MASQUERADE_COMMENT
    masquerade = f"{comment} -j MASQUERADE{' --random-fully' if random_fully else ''}"
    return Chain(
        family=family,
        table="nat",
        name=name,
        rules=(
            f"-m mark --mark 0x4000/0x4000 {comment} -j RETURN",  # kube-proxy masquerades these itself
            f"-s {subnet} -d {network} {comment} -j RETURN",
            f"-s {network} -d {subnet} {comment} -j RETURN",
            f"! -s {network} -d {subnet} {comment} -j RETURN",
            f"-s {network} ! -d {_MULTICAST[family]} {masquerade}",
            f"! -s {network} -d {network} {masquerade}",
        ),
        parent="POSTROUTING",
        jump=f"{comment} -j {name}",
    )


def forward_chain(family: Family, network: Network, name: str) -> Chain:
    """The filter chain that lets flannel traffic through where the policy of FORWARD is DROP, as Docker sets it."""
    return Chain(
        family=family,
        table="filter",
        name=name,
        rules=(f"-s {network} {_FORWARD_COMMENT} -j ACCEPT", f"-d {network} {_FORWARD_COMMENT} -j ACCEPT"),
        parent="FORWARD",
        jump=f"{_FORWARD_COMMENT} -j {name}",
    )
