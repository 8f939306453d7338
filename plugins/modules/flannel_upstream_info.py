#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_upstream_info
short_description: Find another flanneld on a host, and how it is set
description:
  - Looks for a unit of systemd that starts a flanneld which the role P(weft.flannel.flannel#role) has not installed,
    such as upstream's, and tells the variables of the role with which ours does the same.
  - The settings are those of the process if it runs, its environment included. Otherwise they are what the unit, its
    drop-ins and its environment files say, such as C(/etc/sysconfig/flanneld) and C(/etc/default/flanneld).
  - A password is never returned.
  - Needs root, because the environment of a process belongs to its user.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.info_module
attributes:
  platform:
    support: full
seealso:
  - module: weft.flannel.flannel_node_info
  - name: Migration
    description: From upstream in place, from v2-era data, and back; the flags and their variables.
    link: https://github.com/weft-net/weft.flannel/blob/main/docs/migration.md
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Look for another flanneld
  weft.flannel.flannel_upstream_info:
  register: upstream

- name: Show what would be taken over
  ansible.builtin.debug:
    var: upstream.variables
  when: upstream.found
"""

RETURN = r"""
found:
  description: Whether another flanneld runs, will run after a boot, or has the unit file that ours needs.
  type: bool
  returned: success
unit:
  description: The unit that starts it.
  type: dict
  returned: when RV(found) is true
  contains:
    name:
      description: Its name.
      type: str
      sample: flanneld.service
    path:
      description: Its file.
      type: str
      sample: /usr/lib/systemd/system/flanneld.service
    drop_ins:
      description: Its drop-ins, in the order in which systemd reads them.
      type: list
      elements: str
    active:
      description: Whether it runs.
      type: bool
    enabled:
      description: Whether it starts at boot.
      type: bool
variables:
  description: The variables of the role flannel that say the same as its settings.
  type: dict
  returned: success
  sample:
    flannel_etcd_endpoints: ["http://192.0.2.10:2379"]
    flannel_iface: [eth1]
    flannel_ip_masq: true
problems:
  description: What ours would not do as this one does.
  type: list
  elements: dict
  returned: success
  contains:
    flag:
      description: The flag, without dashes; empty if it is about something else.
      type: str
      sample: subnet-file
    message:
      description: What it is about, and the next step.
      type: str
notes:
  description: What is left out without harm, one sentence each.
  type: list
  elements: str
  returned: success
former:
  description:
    - RV(unit), RV(variables) and the rest as C(weft.flannel.migrate) has found them before it changed anything;
      V(null) on a host that has not been migrated.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import run_module
from ansible_collections.weft.flannel.plugins.module_utils._upstream_host import describe_upstream


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    run_module(module, lambda: describe_upstream(module))


if __name__ == "__main__":
    main()
