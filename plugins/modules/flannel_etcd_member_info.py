#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_etcd_member_info
short_description: Read who belongs to an etcd cluster, and how the members are
description:
  - Asks one of the O(endpoints) for the members of the cluster, and then each member alone whether it is healthy, whom
    it follows and whom it lists.
  - A member that is down is no failure. It is returned as such.
  - The user that it logs in as needs no rights on keys.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.actiongroup_etcd
  - weft.flannel._attributes.info_module
  - weft.flannel._etcd
attributes:
  platform:
    support: full
seealso:
  - module: weft.flannel.flannel_etcd_member
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Look at the etcd cluster
  weft.flannel.flannel_etcd_member_info:
    endpoints:
      - http://192.0.2.10:2379
      - http://192.0.2.11:2379
  register: etcd

- name: Stop unless all members are well
  ansible.builtin.assert:
    that: etcd.agreed
    fail_msg: "{{ etcd.members | rejectattr('healthy') | items2dict(key_name='name', value_name='error') }}"
"""

RETURN = r"""
cluster_id:
  description: The id of the cluster, in hexadecimal digits.
  type: str
  returned: success
  sample: cdf818194e3a8c32
leader:
  description: The name of the leader, V(null) if there is none that all healthy members follow.
  type: str
  returned: success
  sample: n1
agreed:
  description: Whether all members are healthy, list the same members and follow one leader.
  type: bool
  returned: success
  sample: true
members:
  description: The members, by name.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: The id of the member, in hexadecimal digits.
      type: str
      sample: 8e9e05c52164694d
    name:
      description: Its name, empty as long as it has never started.
      type: str
      sample: n1
    peer_urls:
      description: Where the other members reach it.
      type: list
      elements: str
      sample: ["http://192.0.2.10:2380"]
    client_urls:
      description: Where clients reach it, empty as long as it has never started.
      type: list
      elements: str
      sample: ["http://192.0.2.10:2379"]
    healthy:
      description: Whether it answers, and reads as one of a quorum.
      type: bool
      sample: true
    error:
      description: Why it is not healthy, V(null) if it is.
      type: str
      sample: null
    version:
      description: The version of its etcd, V(null) if it does not answer.
      type: str
      sample: 3.4.23
    db_size:
      description: The size of its database in bytes.
      type: int
      sample: 24576
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

from typing import Any, Dict, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    REQUIRED_TOGETHER,
    run_module,
    store_options,
)
from ansible_collections.weft.flannel.plugins.module_utils._members import describe_health, read_health


def read_members(params: Mapping[str, Any]) -> Dict[str, Any]:
    """The return values of the module. Raises StoreError when no endpoint answers."""
    return {"changed": False, **describe_health(read_health(store_options(params)))}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(CONNECTION_SPEC),
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: read_members(module.params))


if __name__ == "__main__":
    main()
