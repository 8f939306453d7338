# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison that the role flannel makes before it changes anything."""

from __future__ import annotations

import re
from ipaddress import ip_interface
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

DOCUMENTATION = r"""
name: find_address_clashes
author: Weft contributors (@weft-net)
version_added: 0.1.0
short_description: Find hosts that would publish the same address
description:
  - Leases are found again by the address that they publish. Two hosts with one address would take the same subnet
    from each other.
  - It happens where every host has the same address on its default route, as Vagrant and NAT make it.
positional: _input, leases
options:
  _input:
    description: >-
      The hosts of the play, each as its name, the address it would publish, and the content of its C(subnet.env).
    type: list
    elements: list
    required: true
  leases:
    description: >-
      The live leases, as M(weft.flannel.flannel_network_info) returns them, for the hosts that are not in the play.
    type: list
    elements: dict
    required: true
seealso:
  - plugin: weft.flannel.flannel_network_info
    plugin_type: module
"""

EXAMPLES = r"""
- name: Stop if two hosts share an address
  ansible.builtin.assert:
    that: hosts | weft.flannel.find_address_clashes([]) | length == 0
  vars:
    hosts:
      - [n1, 10.0.2.15, ""]
      - [n2, 10.0.2.15, ""]
"""

RETURN = r"""
_value:
  description: One sentence for each clash, with the hosts and what to do.
  type: list
  elements: str
"""

# Host name, the address it would publish, the content of its subnet.env ("" if it has none).
Host = Tuple[str, str, str]


def find_address_clashes(hosts: Sequence[Host], leases: Sequence[Mapping[str, Any]]) -> List[str]:
    """One sentence for each clash between the hosts, and between them and hosts that hold one of the leases."""
    hosts = list(hosts)
    return [*_among_hosts(hosts), *_with_leases(hosts, leases)]


def _among_hosts(hosts: Sequence[Host]) -> Iterator[str]:
    names: Dict[str, List[str]] = {}
    for name, address, _dummy in hosts:
        names.setdefault(address, []).append(name)
    for address, sharing in names.items():
        if len(sharing) > 1:
            yield (
                f"{', '.join(sharing)} would all publish {address} and take one subnet from each other: "
                "give each flannel_iface (or flannel_iface_regex, flannel_iface_can_reach) so that its own address is "
                "chosen, or flannel_public_ip."
            )


def _with_leases(hosts: Sequence[Host], leases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for name, address, subnet_env in hosts:
        for lease in leases:
            if lease["public_ip"] == address and lease["subnet"] not in _subnets(subnet_env):
                yield (
                    f"{name} would publish {address}, but so does a live lease for {lease['subnet']} that {name} "
                    f"does not know of: if it is of a host outside of this run, give {name} another flannel_iface or "
                    f"flannel_public_ip; if it is left from an earlier life of {name}, run without --limit."
                )


def _subnets(subnet_env: str) -> List[str]:
    """The subnets that a host says it has (spec 3.2): "10.42.1.1/24" -> 10.42.1.0/24."""
    found = re.search(r"^FLANNEL_SUBNET=(\S+)$", subnet_env, re.MULTILINE)
    return [str(ip_interface(text).network) for text in found.group(1).split(",")] if found else []


class FilterModule:
    """Tells Ansible the filter's name."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"find_address_clashes": find_address_clashes}
