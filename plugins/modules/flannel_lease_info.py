#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_lease_info
short_description: Read who holds which subnet of a flannel network
description:
  - Returns the leases and reservations below O(prefix) with their hosts and how long they last, the hosts that are up,
    and which subnets are free.
  - A network without a config is no failure, nor are keys that cannot be read. They are returned as such.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.actiongroup_etcd
  - weft.flannel._attributes.info_module
  - weft.flannel._etcd
attributes:
  platform:
    support: full
options:
  next_free:
    description: How many free subnets of each family to list.
    type: int
    default: 10
seealso:
  - module: weft.flannel.flannel_lease
  - module: weft.flannel.flannel_network_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Look at the leases
  weft.flannel.flannel_lease_info:
    endpoints:
      - http://192.0.2.10:2379
  register: network

- name: Hosts whose lease ends within the hour
  ansible.builtin.debug:
    msg: "{{ leases | selectattr('seconds_left', 'lt', 3600) | map(attribute='host') }}"
  vars:
    leases: "{{ network.leases | rejectattr('reservation') }}"

- name: The next free subnet
  ansible.builtin.debug:
    var: network.subnets.ipv4.next_free | first
"""

RETURN = r"""
leases:
  description: The leases and reservations, in the order of their keys.
  type: list
  elements: dict
  returned: success
  contains:
    key:
      description: The etcd key.
      type: str
      sample: /coreos.com/network/subnets/10.5.34.0-24
    subnet:
      description: The IPv4 subnet, V(null) if there is none.
      type: str
      sample: 10.5.34.0/24
    ipv6_subnet:
      description: The IPv6 subnet, V(null) if there is none.
      type: str
      sample: 2001:db8:5:22::/64
    public_ip:
      description: The IPv4 address at which the other hosts reach the host, V(null) if there is none.
      type: str
      sample: 192.0.2.11
    public_ipv6:
      description: The IPv6 address at which the other hosts reach the host, V(null) if there is none.
      type: str
      sample: 2001:db8::11
    backend_type:
      description: The backend that the host runs, V(null) for the backends that publish none.
      type: str
      sample: vxlan
    backend_data:
      description: >-
        What the backend publishes for IPv4, V(null) for nothing. A string for V(extension).
      type: raw
      sample:
        VNI: 1
        VtepMAC: c6:d2:32:6f:8f:44
    backend_v6_data:
      description: What the backend publishes for IPv6, V(null) for nothing.
      type: raw
      sample:
        VNI: 1
        VtepMAC: 5e:aa:01:7c:3d:02
    reservation:
      description: Whether the key hangs on no etcd lease, so that the subnet belongs to the host for good.
      type: bool
      sample: false
    taken:
      description: >-
        Whether a host has taken it. V(false) for a reservation that waits for its host.
      type: bool
      sample: true
    held:
      description: >-
        Whether a host that is up says that it holds it. V(false) for a host that is down, and for one that runs
        upstream's flanneld, which writes no node entry.
      type: bool
      sample: true
    host:
      description: >-
        The name of the host that holds it, or else of the one with its public IP; V(null) if no such host is up.
      type: str
      sample: node1.example.com
    node_id:
      description: The id of that host, V(null) if no such host is up.
      type: str
      sample: 5f0c8a1e3b7d4c2f9e6a7b8c9d0e1f2a
    seconds_left:
      description: Seconds until it ends unless its host renews it, V(null) for a reservation.
      type: int
      sample: 81234
bad_leases:
  description: The keys among the leases that are none. flanneld skips them.
  type: list
  elements: dict
  returned: success
  contains:
    key:
      description: The etcd key.
      type: str
      sample: /coreos.com/network/subnets/junk
    reason:
      description: Why it is no lease.
      type: str
      sample: is not a subnet
nodes:
  description: >-
    The hosts that are up, in the order of their ids. Those that run upstream's flanneld are not among them.
  type: list
  elements: dict
  returned: success
  contains:
    key:
      description: The etcd key.
      type: str
      sample: /coreos.com/network/nodes/5f0c8a1e3b7d4c2f9e6a7b8c9d0e1f2a
    node_id:
      description: The id of the host, made at the first start of flanneld.
      type: str
      sample: 5f0c8a1e3b7d4c2f9e6a7b8c9d0e1f2a
    host:
      description: The name of the host, V(null) if it has none.
      type: str
      sample: node1.example.com
    boot_id:
      description: Another one after each boot.
      type: str
      sample: 0a6e8f3c-52f7-4d0b-9d5d-7f1f3a0b6c11
    public_ip:
      description: The IPv4 address at which the other hosts reach it, V(null) if there is none.
      type: str
      sample: 192.0.2.11
    public_ipv6:
      description: The IPv6 address at which the other hosts reach it, V(null) if there is none.
      type: str
      sample: 2001:db8::11
    lease:
      description: The etcd key of the lease that it holds, V(null) while it has none.
      type: str
      sample: /coreos.com/network/subnets/10.5.34.0-24
    version:
      description: The version of flanneld.
      type: str
      sample: 0.1.0
bad_nodes:
  description: The keys among the node entries that are none.
  type: list
  elements: dict
  returned: success
  contains:
    key:
      description: The etcd key.
      type: str
      sample: /coreos.com/network/nodes/junk
    reason:
      description: Why it is no node entry.
      type: str
      sample: is not a node entry
config_error:
  description: >-
    Why nobody can say which subnets there are, V(null) if the network config can be used.
  type: str
  returned: success
  sample: null
subnets:
  description: Which subnets there are. V(null) for both families if the config cannot be used.
  type: dict
  returned: success
  contains:
    ipv4:
      description: Those of IPv4, V(null) where the config does not turn it on.
      type: dict
      contains:
        total:
          description: How many subnets the config has for hosts.
          type: int
          sample: 255
        used:
          description: How many of them overlap a lease or a reservation.
          type: int
          sample: 3
        free:
          description: How many of them are left.
          type: int
          sample: 252
        next_free:
          description: The first of those that are left, as many as O(next_free) says.
          type: list
          elements: str
          sample: [10.5.1.0/24, 10.5.2.0/24]
    ipv6:
      description: The same for IPv6.
      type: dict
error:
  description: >-
    The kind of failure, for plays that treat them differently, for example V(StoreUnavailable).
  type: str
  returned: failure
  sample: StoreUnavailable
subject:
  description: What the failure is about.
  type: str
  returned: failure
  sample: etcd at http://192.0.2.10:2379
cause:
  description: What is wrong with it.
  type: str
  returned: failure
  sample: connection refused
next_step:
  description: What to do about it.
  type: str
  returned: failure
  sample: check that etcd runs there and listens on that address
"""

from itertools import islice
from typing import Any, Dict, Iterable, List, Mapping, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._config import NetworkConfig
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    REQUIRED_TOGETHER,
    connected_store,
    run_module,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._holders import (
    Holders,
    describe_held_lease,
    describe_node,
    read_holders,
    read_seconds_left,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout
from ansible_collections.weft.flannel.plugins.module_utils._network import BadLease, count_subnets
from ansible_collections.weft.flannel.plugins.module_utils._reservation import require_config
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES, Family, list_free


def describe_leases(params: Mapping[str, Any]) -> Dict[str, Any]:
    """The return values of the module. Raises StoreError when etcd cannot be read."""
    layout = Layout.from_prefix(params["prefix"])
    with connected_store(params) as store:
        holders = read_holders(store, layout)
        seconds_left = read_seconds_left(store, holders.stored.leases)
    config: Optional[NetworkConfig] = None
    config_error: Optional[str] = None
    try:
        config = require_config(holders, layout)
    except ConfigError as error:
        config_error = str(error)
    return {
        "changed": False,
        "leases": [
            {**describe_held_lease(layout, holders, lease), "seconds_left": seconds_left[lease.key]}
            for lease in holders.stored.leases
        ],
        "bad_leases": _describe_bad(holders.stored.bad_leases),
        "nodes": [describe_node(layout, node) for node in holders.nodes],
        "bad_nodes": _describe_bad(holders.bad_nodes),
        "config_error": config_error,
        "subnets": {
            family.name: None
            if config is None
            else _describe_subnets(config, family, holders, params["next_free"])
            for family in FAMILIES
        },
    }


def _describe_bad(keys: Iterable[BadLease]) -> List[Dict[str, str]]:
    return [{"key": bad.key, "reason": bad.reason} for bad in keys]


def _describe_subnets(
    config: NetworkConfig, family: Family, holders: Holders, limit: int
) -> Optional[Dict[str, Any]]:
    leases = holders.stored.leases
    counts, pool = count_subnets(config, family, leases), config.pool(family)
    if counts is None or pool is None:
        return None
    taken = [subnet for subnet in (lease.subnets.of(family) for lease in leases) if subnet is not None]
    return {**counts, "next_free": [str(subnet) for subnet in islice(list_free(pool, taken), max(0, limit))]}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**CONNECTION_SPEC, "next_free": {"type": "int", "default": 10}},
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: describe_leases(module.params))


if __name__ == "__main__":
    main()
