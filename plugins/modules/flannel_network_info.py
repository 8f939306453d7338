#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_network_info
short_description: Read a flannel network from etcd
description:
  - Returns the network config below O(prefix) with all defaults, the leases of the hosts, and how many subnets are
    free.
  - A network without a config is no failure, nor is a config or a lease that cannot be read. They are returned as such.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.actiongroup_etcd
  - weft.flannel._attributes.info_module
  - weft.flannel._etcd
attributes:
  platform:
    support: full
seealso:
  - module: weft.flannel.flannel_network
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Look at the network
  weft.flannel.flannel_network_info:
    endpoints:
      - http://192.0.2.10:2379
  register: network

- name: Stop when less than one subnet in ten is free
  ansible.builtin.assert:
    that:
      - network.subnets.ipv4.free * 10 >= network.subnets.ipv4.total
    fail_msg: "{{ network.subnets.ipv4.free }} subnets are left in {{ network.config.network }}"

- name: Which hosts have a lease
  ansible.builtin.debug:
    msg: "{{ network.leases | items2dict(key_name='subnet', value_name='public_ip') }}"
"""

RETURN = r"""
key:
  description: The etcd key of the config.
  type: str
  returned: success
  sample: /coreos.com/network/config
exists:
  description: Whether the key exists.
  type: bool
  returned: success
  sample: true
raw:
  description: The text of the key, with secrets hidden. V(null) if it does not exist.
  type: str
  returned: success
  sample: '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
revision:
  description: The etcd revision in which the key was last written, V(0) if it does not exist.
  type: int
  returned: success
  sample: 17
config:
  description:
    - The config in force, with all defaults, under the names of the options of M(weft.flannel.flannel_network).
    - Values that depend on the host are V(null), secrets are V((hidden\)).
    - V(null) if there is none, or none that flanneld can use.
  type: dict
  returned: success
  sample:
    backend:
      direct_routing: false
      gbp: false
      learning: false
      mtu: null
      port: 0
      type: vxlan
      vni: 1
    enable_ipv4: true
    enable_ipv6: false
    enable_nftables: false
    ipv6_network: null
    ipv6_subnet_len: null
    ipv6_subnet_max: null
    ipv6_subnet_min: null
    network: 10.5.0.0/16
    subnet_len: 24
    subnet_max: 10.5.255.0
    subnet_min: 10.5.1.0
config_error:
  description: Why flanneld cannot use the config, V(null) if it can or if there is none.
  type: str
  returned: success
  sample: "network config: unknown backend type: vxlon; set Backend.Type to one of vxlan, host-gw, udp"
unknown_keys:
  description: Keys in the config that flannel does not know. A dot separates the levels.
  type: list
  elements: str
  returned: success
  sample: [Backend.Vni2]
leases:
  description: The leases and reservations, in the order of their keys.
  type: list
  elements: dict
  returned: success
  contains:
    key:
      description: The etcd key of the lease.
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
      description: The IPv4 address at which the other hosts reach this one, V(null) if there is none.
      type: str
      sample: 192.0.2.11
    public_ipv6:
      description: The IPv6 address at which the other hosts reach this one, V(null) if there is none.
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
subnets:
  description: How many subnets there are.
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
          description: How many of them overlap a lease.
          type: int
          sample: 3
        free:
          description: How many of them are left.
          type: int
          sample: 252
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

from typing import Any, Dict, Mapping, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._config import (
    NetworkConfig,
    parse_config,
    unknown_keys,
)
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    REQUIRED_TOGETHER,
    connected_store,
    run_module,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import ConfigError
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout
from ansible_collections.weft.flannel.plugins.module_utils._network import (
    count_subnets,
    describe_lease,
    read_network,
)
from ansible_collections.weft.flannel.plugins.module_utils._options import hide_secrets, options_of
from ansible_collections.weft.flannel.plugins.module_utils._store import KeyValue
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES


def describe_network(params: Mapping[str, Any]) -> Dict[str, Any]:
    """The return values of the module. Raises StoreError when etcd cannot be read."""
    layout = Layout.from_prefix(params["prefix"])
    with connected_store(params) as store:
        stored = read_network(store, layout)
    config, described = describe_config(stored.config)
    return {
        "changed": False,
        "key": layout.config,
        **described,
        "leases": [describe_lease(layout, lease) for lease in stored.leases],
        "bad_leases": [{"key": bad.key, "reason": bad.reason} for bad in stored.bad_leases],
        "subnets": {
            family.name: None if config is None else count_subnets(config, family, stored.leases)
            for family in FAMILIES
        },
    }


def describe_config(item: Optional[KeyValue]) -> Tuple[Optional[NetworkConfig], Dict[str, Any]]:
    """The config if flanneld can use it, and the return values about it."""
    described: Dict[str, Any] = {
        "exists": item is not None,
        "raw": None,
        "revision": 0,
        "config": None,
        "config_error": None,
        "unknown_keys": [],
    }
    if item is None:
        return None, described
    text = item.value.decode("utf-8", "replace")
    described.update(raw=hide_secrets(text), revision=item.mod_revision)
    try:
        config = parse_config(text)
    except ConfigError as error:
        return None, {**described, "config_error": str(error)}
    return config, {**described, "config": options_of(config), "unknown_keys": list(unknown_keys(text))}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(CONNECTION_SPEC),
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: describe_network(module.params))


if __name__ == "__main__":
    main()
