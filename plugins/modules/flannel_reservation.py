#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_reservation
short_description: Pin a flannel subnet to a host
description:
  - Writes a reservation, which is the key of a lease that never ends. The host with its public IP takes it when
    flanneld starts there, and keeps it.
  - A live lease of the host is adopted. Its flanneld goes on with the same subnet, and nothing is interrupted.
  - A subnet that belongs to another host is refused, and the message names the holder.
  - The subnet is checked with the network config. The key is written only if it has not changed since it was read
    (compare-and-swap), and looked at once more after that.
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
      - Where the host runs upstream's flanneld, that makes an ordinary lease of each reservation that it holds, and the
        next run makes a reservation of it again.
  platform:
    support: full
options:
  state:
    description:
      - V(present) makes the subnet a reservation of the host.
      - V(absent) ends reservations. One that a host has taken becomes an ordinary lease, which the host keeps as long
        as it renews it. One that nobody has taken is removed.
    type: str
    choices: [present, absent]
    default: present
  subnet:
    description:
      - The IPv4 subnet, in CIDR notation.
      - If neither this nor O(ipv6_subnet) is set, O(state=present) keeps the subnet that the host has now, and
        O(state=absent) ends each reservation of the host.
    type: str
  ipv6_subnet:
    description:
      - The IPv6 subnet, in CIDR notation. Needed if the network config turns IPv6 on, unless the host has a lease with
        O(subnet), whose IPv6 subnet then stays.
    type: str
  public_ip:
    description: The host, by the IPv4 address at which the other hosts reach it.
    type: str
  public_ipv6:
    description:
      - The host, by the IPv6 address at which the other hosts reach it.
      - In a network with both families hosts are known by their IPv4 address.
    type: str
  node_id:
    description:
      - The host, by the id of its node entry, as M(weft.flannel.flannel_lease_info) returns it. Its addresses
        are looked up there, and the reservation is made for them.
      - The host has to be up, with the flanneld of this collection.
    type: str
  allow_disruptive:
    description:
      - Give a host another subnet than the one that it may be using.
      - The running flanneld keeps the old subnet. It goes to the reserved one at its next start, and containers that
        are up then keep addresses of the old one until they are restarted.
    type: bool
    default: false
  ttl:
    description:
      - Seconds after which what becomes an ordinary lease ends, unless its host renews it. flanneld renews at once,
        with its own time.
    type: int
    default: 86400
seealso:
  - module: weft.flannel.flannel_reservation_info
  - module: weft.flannel.flannel_lease
  - name: Reservations
    description: What becomes of them, with both flanneld.
    link: https://github.com/weft-net/weft.flannel/blob/main/docs/reservations.md
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: A subnet for a host that is still to come
  weft.flannel.flannel_reservation:
    endpoints:
      - http://192.0.2.10:2379
    subnet: 10.5.34.0/24
    public_ip: 192.0.2.11

- name: Each host keeps the subnet that it has
  weft.flannel.flannel_reservation:
    public_ip: "{{ flannel_public_ip }}"
  delegate_to: store.example.com

- name: The connection once for all modules
  module_defaults:
    group/weft.flannel.flannel:
      endpoints:
        - https://192.0.2.10:2379
      ca_cert: /etc/ssl/etcd/ca.crt
      client_cert: /etc/ssl/etcd/client.crt
      client_key: /etc/ssl/etcd/client.key
  block:
    - name: A subnet of each family, for a host by the id of its node entry
      weft.flannel.flannel_reservation:
        subnet: 10.5.34.0/24
        ipv6_subnet: 2001:db8:5:22::/64
        node_id: 5f0c8a1e3b7d4c2f9e6a7b8c9d0e1f2a

    - name: The host may have another subnet later
      weft.flannel.flannel_reservation:
        public_ip: 192.0.2.11
        state: absent
"""

RETURN = r"""
lease:
  description: >-
    The reservation, or the ordinary lease that it has become; V(null) if there is neither. In check mode as it would
    be.
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
disruptions:
  description: What the change takes from hosts that may be using it, one sentence each. Empty if nothing.
  type: list
  elements: str
  returned: success
  sample: []
error:
  description: >-
    The kind of failure, for plays that treat them differently, for example V(SubnetTaken),
    V(OptionError) or V(StoreUnavailable).
  type: str
  returned: failure
  sample: SubnetTaken
subject:
  description: What the failure is about.
  type: str
  returned: failure
  sample: subnet 10.5.34.0-24
cause:
  description: What is wrong with it.
  type: str
  returned: failure
  sample: >-
    it overlaps the lease /coreos.com/network/subnets/10.5.34.0-24 of public IP 192.0.2.12, which no node entry has, 512
    seconds left
next_step:
  description: What to do about it.
  type: str
  returned: failure
  sample: >-
    choose another subnet (weft.flannel.flannel_lease_info lists free ones)
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    REQUIRED_TOGETHER,
    run_module,
)
from ansible_collections.weft.flannel.plugins.module_utils._holders import Holders
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout
from ansible_collections.weft.flannel.plugins.module_utils._lease_change import (
    CHANGE_SPEC,
    Namer,
    Plan,
    change_leases,
    read_ttl,
)
from ansible_collections.weft.flannel.plugins.module_utils._lease_request import REQUEST_SPEC, read_request
from ansible_collections.weft.flannel.plugins.module_utils._reservation import (
    plan_absent,
    plan_present,
    plan_unchecked,
)


def apply_reservation(module: AnsibleModule) -> Dict[str, Any]:
    """The return values, after the reservation is what the options say (in check mode: would be)."""
    request, ttl = read_request(module.params), read_ttl(module.params)
    layout = Layout.from_prefix(module.params["prefix"])

    def make_plan(holders: Holders, name: Namer) -> Plan:
        if module.params["state"] == "absent":
            return plan_absent(holders, request, name)
        if module.check_mode and holders.stored.config is None:
            module.warn(
                f"There is no network config {layout.config} yet: the reservation is shown unchecked."
            )
            return plan_unchecked(request)
        return plan_present(holders, layout, request, name)

    return change_leases(module, layout, make_plan, ttl)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_SPEC,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **REQUEST_SPEC,
            **CHANGE_SPEC,
        },
        required_if=[("state", "present", ("public_ip", "public_ipv6", "node_id"), True)],
        required_one_of=[tuple(REQUEST_SPEC)],
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: apply_reservation(module))


if __name__ == "__main__":
    main()
