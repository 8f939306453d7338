#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_etcd_member
short_description: Add a member to an etcd cluster, give it TLS, or remove it
description:
  - Tells a running etcd cluster of one more member, which then has to be started with the initial cluster state
    C(existing), or takes one out for good.
  - One at a time. A new member counts for the quorum before it has started, so none is added while another one is not
    healthy. None is removed if those that stay would have no quorum.
  - The peer URLs of a member may change between C(http) and C(https). It then has to be restarted to listen so. At
    another address it would be another member, which is refused.
  - The module starts and stops nothing, and touches no data directory.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.actiongroup_etcd
  - weft.flannel._etcd
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
options:
  name:
    description: The name of the member, C(--name) of its etcd.
    type: str
    required: true
  peer_urls:
    description:
      - Where the other members reach it, C(--initial-advertise-peer-urls) of its etcd.
      - Required with O(state=present). With O(state=absent) it finds a member that has never started and so has no
        name.
    type: list
    elements: str
    default: []
  state:
    description: Whether the member belongs to the cluster.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: weft.flannel.flannel_etcd_member_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Make room for a third member
  weft.flannel.flannel_etcd_member:
    endpoints:
      - http://192.0.2.10:2379
    name: n3
    peer_urls:
      - http://192.0.2.12:2380
  register: cluster

- name: Tell the cluster that a member speaks TLS from its next start on
  weft.flannel.flannel_etcd_member:
    endpoints:
      - http://192.0.2.10:2379
    name: n3
    peer_urls:
      - https://192.0.2.12:2380

- name: Take out a member whose machine is lost
  weft.flannel.flannel_etcd_member:
    endpoints:
      - http://192.0.2.10:2379
    name: n2
    state: absent
"""

RETURN = r"""
members:
  description: The members after the change, by name. Those that have never started have no name.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Its name, empty as long as it has never started.
      type: str
      sample: n1
    peer_urls:
      description: Where the other members reach it.
      type: list
      elements: str
      sample: ["http://192.0.2.10:2380"]
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

from contextlib import closing
from dataclasses import replace
from typing import Any, Dict, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    REQUIRED_TOGETHER,
    run_module,
    store_options,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import MemberError
from ansible_collections.weft.flannel.plugins.module_utils._members import (
    Member,
    describe_members,
    find_member,
    open_cluster,
    read_health,
    refuse_addition,
    refuse_removal,
)


def apply_member(params: Mapping[str, Any], check_mode: bool) -> Dict[str, Any]:
    """The return values of the module. Raises StoreError, MemberError."""
    options = store_options(params)
    name, peer_urls = params["name"], frozenset(params["peer_urls"])
    if params["state"] == "present" and not peer_urls:
        raise MemberError(
            f"etcd member {name}",
            "peer_urls is empty, so the other members would not find it",
            "give peer_urls as in --initial-advertise-peer-urls of its etcd",
        )
    health = read_health(options)
    before = tuple(item.member for item in health.members)
    found = find_member(before, name, peer_urls)
    after = before
    if params["state"] == "present" and found is None:
        refuse_addition(health, name)
        after = (*before, Member(0, "", peer_urls, ()))
    elif params["state"] == "present" and found is not None:
        after = tuple(replace(found, peer_urls=peer_urls) if member is found else member for member in before)
    elif params["state"] == "absent" and found is not None:
        refuse_removal(health, found)
        after = tuple(member for member in before if member.id != found.id)
    if after != before and not check_mode:
        with closing(open_cluster(options)) as cluster:
            if found is None:
                cluster.add_member(sorted(peer_urls))
            elif params["state"] == "present":
                cluster.update_member(found, sorted(peer_urls))
            else:
                cluster.remove_member(found)
    return {
        "changed": after != before,
        "diff": [{"before": describe_members(before), "after": describe_members(after)}],
        "members": [{"name": member.name, "peer_urls": sorted(member.peer_urls)} for member in after],
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_SPEC,
            "name": {"type": "str", "required": True},
            "peer_urls": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: apply_member(module.params, module.check_mode))


if __name__ == "__main__":
    main()
