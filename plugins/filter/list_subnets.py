# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The subnets of a network config, for inventories."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Union

from ansible.errors import AnsibleFilterError
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES
from ansible_collections.weft.flannel.plugins.plugin_utils._pools import read_pools

DOCUMENTATION = r"""
name: list_subnets
author: Weft contributors (@weft-net)
version_added: 0.1.0
short_description: List the subnets that a network config has for hosts
description:
  - Counts from SubnetMin to SubnetMax, in the order of addresses, whether a host has them or not.
positional: _input, family, first, count
options:
  _input:
    description: >-
      The network config, as M(weft.flannel.flannel_network_info) returns it, as the options of
      M(weft.flannel.flannel_network), or as upstream's JSON.
    type: raw
    required: true
  family:
    description: Which subnets.
    type: str
    choices: [ipv4, ipv6]
    default: ipv4
  first:
    description: The number of the first one to list, counted from 0.
    type: int
    default: 0
  count:
    description: How many to list. A network may have very many.
    type: int
seealso:
  - plugin: weft.flannel.flannel_network_info
    plugin_type: module
"""

EXAMPLES = r"""
- name: The third subnet of the network is that of the third host
  ansible.builtin.set_fact:
    subnet: "{{ {'network': '10.42.0.0/16'} | weft.flannel.list_subnets(first=2, count=1) | first }}"  # 10.42.3.0/24
"""

RETURN = r"""
_value:
  description: The subnets, in CIDR notation. Empty where the config does not turn the family on.
  type: list
  elements: str
"""


def list_subnets(
    config: Union[str, Mapping[str, Any]], family: str = "ipv4", first: int = 0, count: Optional[int] = None
) -> List[str]:
    """`count` subnets of that family from number `first` on; all of them without a count."""
    try:
        pools = {one.name: read_pools(config).pool(one) for one in FAMILIES}
    except FlannelError as error:
        raise AnsibleFilterError(f"list_subnets: {error}") from None
    if family not in pools:
        raise AnsibleFilterError(f"list_subnets: family is {family!r}; write one of {', '.join(pools)}")
    if first < 0 or (count is not None and count < 0):
        raise AnsibleFilterError(f"list_subnets: first is {first} and count {count}; write 0 or more")
    pool = pools[family]
    if pool is None:
        return []
    end = pool.slots if count is None else min(pool.slots, first + count)
    return [str(pool.slot(number)) for number in range(first, end)]


class FilterModule:
    """Tells Ansible the filter's name."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"list_subnets": list_subnets}
