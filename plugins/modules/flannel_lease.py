#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_lease
short_description: Revoke a flannel lease, or change how long it lasts
description:
  - Removes the lease of a host, makes a reservation of it, or makes an ordinary lease of a reservation.
  - A lease that is converted keeps its key and its value. Its host goes on with the same subnet, and nothing is
    interrupted.
  - The key is written only if it has not changed since it was read (compare-and-swap).
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.actiongroup_etcd
  - weft.flannel._etcd
attributes:
  check_mode:
    support: full
    details:
      - On a host without the Python library, check mode warns and shows the change as if etcd were empty, so that a
        play that would install the library first completes.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - A flanneld that is up takes a lease again that was removed. Stop it first.
      - Upstream's flanneld makes an ordinary lease of each reservation that it holds.
  platform:
    support: full
options:
  state:
    description:
      - V(absent) removes the key. The flanneld of this collection takes the same subnet again within seconds if it is
        up; upstream's ends, with exit status 0.
      - V(reserved) makes a reservation of a lease, as M(weft.flannel.flannel_reservation) does.
      - V(leased) makes an ordinary lease of a reservation.
    type: str
    choices: [absent, leased, reserved]
    required: true
  subnet:
    description: The lease, by its IPv4 subnet in CIDR notation.
    type: str
  ipv6_subnet:
    description: The lease, by its IPv6 subnet in CIDR notation.
    type: str
  public_ip:
    description: The lease, by the IPv4 address that its host publishes.
    type: str
  public_ipv6:
    description: The lease, by the IPv6 address that its host publishes.
    type: str
  node_id:
    description:
      - The host, by the id of its node entry, as M(weft.flannel.flannel_lease_info) returns it. It is
        the lease that this host holds.
      - The host has to be up, with the flanneld of this collection.
    type: str
  allow_disruptive:
    description:
      - Remove a lease that a host may be using. That is any lease, unless its host is up and says that it holds another
        one. A host without a node entry is down, or runs upstream's flanneld, and nobody can tell which.
      - With O(state=reserved), give a host another subnet than the one that it may be using.
    type: bool
    default: false
  ttl:
    description:
      - Seconds after which what becomes an ordinary lease ends, unless its host renews it. flanneld renews at once,
        with its own time.
    type: int
    default: 86400
seealso:
  - module: weft.flannel.flannel_lease_info
  - module: weft.flannel.flannel_reservation
  - name: Reservations
    description: What becomes of them, with both flanneld.
    link: https://github.com/weft-net/weft.flannel/blob/main/docs/reservations.md
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Free the subnet of a host that does not come back
  weft.flannel.flannel_lease:
    endpoints:
      - http://192.0.2.10:2379
    public_ip: 192.0.2.11
    state: absent
    allow_disruptive: true

- name: The host keeps its subnet for good
  weft.flannel.flannel_lease:
    subnet: 10.5.34.0/24
    state: reserved

- name: The host keeps its subnet as long as it renews it
  weft.flannel.flannel_lease:
    subnet: 10.5.34.0/24
    state: leased
"""

RETURN = r"""
lease:
  description: >-
    The lease as it is now, in check mode as it would be; V(null) if there is none.
  type: dict
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
disruptions:
  description: What the change takes from hosts that may be using it, one sentence each. Empty if nothing.
  type: list
  elements: str
  returned: success
  sample: []
error:
  description: >-
    The kind of failure, for plays that treat them differently, for example V(DisruptionRefused),
    V(OptionError) or V(StoreUnavailable).
  type: str
  returned: failure
  sample: DisruptionRefused
subject:
  description: What the failure is about.
  type: str
  returned: failure
  sample: leases
cause:
  description: What is wrong with it.
  type: str
  returned: failure
  sample: >-
    the lease /coreos.com/network/subnets/10.5.34.0-24 of public IP 192.0.2.12, which no node entry has, 512 seconds
    left may be in use there
next_step:
  description: What to do about it.
  type: str
  returned: failure
  sample: "set allow_disruptive: true to do it nevertheless"
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    REQUIRED_TOGETHER,
    run_module,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout
from ansible_collections.weft.flannel.plugins.module_utils._lease_change import (
    CHANGE_SPEC,
    change_leases,
    read_ttl,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease_request import REQUEST_SPEC, read_request
from ansible_collections.weft.flannel.plugins.module_utils._reservation import plan_lease_state


def apply_lease(module: AnsibleModule) -> Dict[str, Any]:
    """The return values, after the lease is in the state that is asked for (in check mode: would be)."""
    request, ttl = read_request(module.params), read_ttl(module.params)
    layout = Layout.from_prefix(module.params["prefix"])
    return change_leases(
        module,
        layout,
        lambda holders, name: plan_lease_state(holders, layout, request, module.params["state"], name),
        ttl,
    )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_SPEC,
            "state": {"type": "str", "choices": ["absent", "leased", "reserved"], "required": True},
            **REQUEST_SPEC,
            **CHANGE_SPEC,
        },
        required_one_of=[tuple(REQUEST_SPEC)],
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: apply_lease(module))


if __name__ == "__main__":
    main()
