#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_etcd_user_info
short_description: Tell which users etcd has, what they may do, and whether it asks for them
description:
  - Returns the users of etcd, and for each the rights of the role with its name.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.actiongroup_etcd
  - weft.flannel._attributes.info_module
  - weft.flannel._etcd
attributes:
  platform:
    support: full
seealso:
  - module: weft.flannel.flannel_etcd_user
  - module: weft.flannel.flannel_etcd_auth
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Look at the users of etcd
  weft.flannel.flannel_etcd_user_info:
    endpoints: [https://192.0.2.10:2379]
    ca_cert: /etc/etcd/tls/ca.crt
    client_cert: /etc/etcd/tls/root.crt
    client_key: /etc/etcd/tls/root.key
  register: users
"""

RETURN = r"""
enabled:
  description: Whether authentication is on.
  type: bool
  returned: success
  sample: true
users:
  description: The users, in the order of their names.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The name of the user.
      type: str
      sample: flanneld
    roles:
      description: The roles that it has.
      type: list
      elements: str
      sample: [flanneld]
    grants:
      description: What the role with its name may do.
      type: list
      elements: dict
      contains:
        key:
          description: A key, or with a V(/) at its end all keys below it.
          type: str
          sample: /coreos.com/network/subnets/
        access:
          description: V(read), V(write) or V(readwrite).
          type: str
          sample: readwrite
error:
  description: The kind of failure, for plays that treat them differently.
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
from ansible_collections.weft.flannel.plugins.module_utils._access import User
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    REQUIRED_TOGETHER,
    run_module,
)
from ansible_collections.weft.flannel.plugins.module_utils._etcd_access import connected_access


def describe_users(params: Mapping[str, Any]) -> Dict[str, Any]:
    """The return values of the module. Raises StoreError when etcd cannot be read."""
    with connected_access(params) as access:
        enabled = access.is_enabled()
        users = [access.read_user(name) for name in access.list_users()]
    return {"changed": False, "enabled": enabled, "users": [describe_user(user) for user in users]}


def describe_user(user: User) -> Dict[str, Any]:
    """One element of the return value users."""
    grants = [
        {"key": str(grant.key) + (f" to {grant.end}" if grant.end else ""), "access": grant.access}
        for grant in sorted(user.grants, key=str)
    ]
    return {"name": user.name, "roles": sorted(user.roles), "grants": grants}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(CONNECTION_SPEC),
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: describe_users(module.params))


if __name__ == "__main__":
    main()
