#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_host_firewall_info
short_description: Tell which firewall manager a host has, and what it does not let in yet
description:
  - Looks for what M(weft.flannel.flannel_host_firewall) would do with the same options, and does nothing.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.info_module
  - weft.flannel._host_firewall
attributes:
  platform:
    support: full
seealso:
  - module: weft.flannel.flannel_host_firewall
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: See whether the other hosts are let in
  weft.flannel.flannel_host_firewall_info:
    config:
      Network: 10.42.0.0/16
      Backend:
        Type: wireguard
    hosts:
      - 192.0.2.11
      - 192.0.2.12
  register: firewall

- name: Say it
  ansible.builtin.debug:
    msg: "{{ firewall.manager }} lacks {{ firewall.missing | length }} rules of ours"
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
present:
  description: The rules that stand under O(name), in the words of the manager.
  type: list
  elements: str
  returned: success
  sample: [allow from 192.0.2.11 to any port 8472 proto udp]
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import run_module
from ansible_collections.weft.flannel.plugins.module_utils._host_firewall import (
    WANTED_SPEC,
    choose_manager,
    describe_plan,
    plan_change,
    read_wanted,
)


def describe_host(module: AnsibleModule) -> Dict[str, Any]:
    """The return values. Raises FlannelError."""
    wanted = read_wanted(module.params)
    manager = choose_manager(module, module.params["manager"])
    plan = plan_change(module, manager, wanted, exclusive=False)
    return {"changed": False, "present": list(plan.before), **describe_plan(manager, wanted, plan)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=dict(WANTED_SPEC), supports_check_mode=True)
    run_module(module, lambda: describe_host(module))


if __name__ == "__main__":
    main()
