#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_reservation_info
short_description: Read the reservations of a flannel network
description:
  - Returns which subnets are pinned to which hosts below O(prefix), whether the hosts have taken them, and whether the
    network config has a place for them.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.actiongroup_etcd
  - weft.flannel._attributes.info_module
  - weft.flannel._etcd
attributes:
  platform:
    support: full
seealso:
  - module: weft.flannel.flannel_reservation
  - module: weft.flannel.flannel_lease_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Look at the reservations
  weft.flannel.flannel_reservation_info:
    endpoints:
      - http://192.0.2.10:2379
  register: pinned

- name: Which hosts have not taken theirs
  ansible.builtin.debug:
    msg: "{{ pinned.reservations | rejectattr('taken') | map(attribute='public_ip') }}"

- name: Stop if the network config has no place for one
  ansible.builtin.assert:
    that:
      - pinned.reservations | selectattr('misfit') | length == 0
"""

RETURN = r"""
reservations:
  description: The reservations, in the order of their keys.
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
      sample: true
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
    misfit:
      description: >-
        Why no flanneld takes it under the present network config, V(null) if nothing is against it.
      type: str
      sample: null
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

from typing import Any, Dict, Mapping, Optional

from ansible.module_utils.basic import AnsibleModule
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
    read_holders,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout, Lease
from ansible_collections.weft.flannel.plugins.module_utils._reservation import find_misfit, require_config
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES


def describe_reservations(params: Mapping[str, Any]) -> Dict[str, Any]:
    """The return values of the module. Raises StoreError when etcd cannot be read."""
    layout = Layout.from_prefix(params["prefix"])
    with connected_store(params) as store:
        holders = read_holders(store, layout)
    return {
        "changed": False,
        "reservations": [
            {**describe_held_lease(layout, holders, lease), "misfit": _explain_misfit(layout, holders, lease)}
            for lease in holders.stored.leases
            if lease.is_reservation
        ],
    }


def _explain_misfit(layout: Layout, holders: Holders, lease: Lease) -> Optional[str]:
    try:
        config = require_config(holders, layout)
    except ConfigError as error:
        return str(error)
    misfits = (find_misfit(config, family, lease.subnets.of(family)) for family in FAMILIES)
    return next((misfit for misfit in misfits if misfit is not None), None)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(CONNECTION_SPEC),
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: describe_reservations(module.params))


if __name__ == "__main__":
    main()
