#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_host_firewall
short_description: Let the other hosts of the network in through a host's firewall
description:
  - Opens what the backend of the network config needs, for the addresses of the network's hosts and for nobody else, in
    the firewall manager that is active on the host. What is opened stays after a reboot.
  - With firewalld there are two policies, C(NAME-in) and C(NAME-fw). Making or removing one needs a reload of
    firewalld, which forgets what was set at run time only; connections stay. Later changes of their rules need none.
  - With ufw each rule has the comment C(weft.flannel NAME). A rule that somebody else has made already stays as it is.
  - Masquerading and the FORWARD chain of iptables are not touched. flanneld keeps rules of its own there.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._host_firewall
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
  exclusive:
    description: >-
      Whether what stands under O(name) and is not asked for is removed. With V(false), hosts that are not in O(hosts)
      are still let in.
    type: bool
    default: true
  state:
    description: Whether the hosts are let in. With V(absent) all that stands under O(name) is removed.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: weft.flannel.flannel_host_firewall_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Let the hosts of the group in to vxlan
  weft.flannel.flannel_host_firewall:
    config:
      Network: 10.42.0.0/16
      Backend:
        Type: vxlan
    hosts: "{{ groups['flannel'] | map('extract', hostvars, 'ansible_host') }}"

- name: Let them in to an etcd of your own
  weft.flannel.flannel_host_firewall:
    name: store
    ports:
      - 2379/tcp
    hosts:
      - 192.0.2.11
      - 192.0.2.12

- name: Take all that away again
  weft.flannel.flannel_host_firewall:
    name: "{{ item }}"
    state: absent
  loop:
    - flannel
    - store
"""

RETURN = r"""
manager:
  description: The program that manages the host's firewall; V(none) if there is none that is active.
  type: str
  returned: success
  sample: firewalld
openings:
  description: What the hosts are let in to.
  type: list
  elements: str
  returned: success
  sample: [UDP port 8472]
missing:
  description: The rules that are wanted and not there, in the words of the manager.
  type: list
  elements: str
  returned: success
  sample: [allow from 192.0.2.12 to any port 8472 proto udp]
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import run_module
from ansible_collections.weft.flannel.plugins.module_utils._host_firewall import (
    NONE,
    WANTED_SPEC,
    build_diff,
    carry_out,
    choose_manager,
    describe_plan,
    find_active,
    plan_change,
    read_wanted,
)
from ansible_collections.weft.flannel.plugins.module_utils._passage import join_plans


def apply_state(module: AnsibleModule) -> Dict[str, Any]:
    """Do what the options ask for; the return values. Raises FlannelError."""
    params = module.params
    if params["state"] == "absent":
        params = {**params, "config": None, "ports": [], "hosts": [], "exclusive": True}
    wanted = read_wanted(params)
    if params["state"] == "absent" and params["manager"] == "auto":
        managers = find_active(module)
    else:
        managers = (choose_manager(module, params["manager"]),)
    plan = join_plans([plan_change(module, manager, wanted, params["exclusive"]) for manager in managers])
    if plan.needed and not module.check_mode:
        carry_out(module, plan)
    return {
        "changed": plan.needed,
        "diff": build_diff(wanted.name, plan),
        **describe_plan(", ".join(managers) or NONE, wanted, plan),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **WANTED_SPEC,
            "exclusive": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: apply_state(module))


if __name__ == "__main__":
    main()
