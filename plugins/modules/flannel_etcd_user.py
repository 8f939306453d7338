#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_etcd_user
short_description: Manage a user of etcd and what it may do
description:
  - The user has one role, of its own name, with exactly the rights of O(grants). Other roles are taken from it.
  - The user V(root) has the role V(root) of etcd, which may do everything.
  - Rights count once authentication is on. M(weft.flannel.flannel_etcd_auth) turns it on.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.actiongroup_etcd
  - weft.flannel._etcd
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows roles and rights. Of a password it is only told that it changes.
  idempotent:
    support: full
  platform:
    support: full
options:
  state:
    description: Whether there is such a user, and its role.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The name of the user. With client certificates it is their common name.
    type: str
    required: true
  user_password:
    description:
      - The password of the user. Without it, a new user gets a random one that nobody knows, so that only its client
        certificate opens etcd.
      - The password of a user that exists can be compared, and is set, only where authentication is on.
    type: str
  grants:
    description: What the user may do.
    type: list
    elements: dict
    default: []
    suboptions:
      key:
        description: A key, or with a V(/) at its end all keys below it.
        type: str
        required: true
      access:
        description: What the user may do with it.
        type: str
        choices: [read, write, readwrite]
        required: true
seealso:
  - module: weft.flannel.flannel_etcd_auth
  - module: weft.flannel.flannel_etcd_user_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Let the agents do what they need, and nothing else
  weft.flannel.flannel_etcd_user:
    endpoints: [https://192.0.2.10:2379]
    ca_cert: /etc/etcd/tls/ca.crt
    client_cert: /etc/etcd/tls/root.crt
    client_key: /etc/etcd/tls/root.key
    name: flanneld
    grants:
      - {key: /coreos.com/network/config, access: read}
      - {key: /coreos.com/network/subnets/, access: readwrite}
      - {key: /coreos.com/network/nodes/, access: readwrite}
"""

RETURN = r"""
name:
  description: The name of the user.
  type: str
  returned: success
  sample: flanneld
exists:
  description: Whether the user exists afterwards.
  type: bool
  returned: success
  sample: true
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

import secrets
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._access import (
    ACCESS,
    User,
    find_steps,
    find_wanted,
    read_grants,
)
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    REQUIRED_TOGETHER,
    run_module,
)
from ansible_collections.weft.flannel.plugins.module_utils._etcd_access import EtcdAccess, connected_access


def apply_user(module: AnsibleModule) -> Dict[str, Any]:
    """The return values, after the user is what the options say (in check mode: would be)."""
    name, password = module.params["name"], module.params["user_password"] or ""
    grants = read_grants(name, module.params["grants"])
    wanted = find_wanted(name, grants) if module.params["state"] == "present" else None
    with connected_access(module.params) as access:
        current = access.read_user(name)
        renews = wanted is not None and current.exists and is_outdated(access, name, password)
        steps = find_steps(current, wanted, renews)
        if steps.needed and not module.check_mode:
            access.carry_out(name, steps, password or secrets.token_urlsafe(32))
    after = "" if wanted is None else wanted.lines
    return {
        "changed": steps.needed,
        "name": name,
        "exists": wanted is not None,
        "diff": build_diff(current, after, renews),
    }


def is_outdated(access: EtcdAccess, name: str, password: str) -> bool:
    """Whether another password is wanted than the user has, as far as etcd tells."""
    return bool(password) and access.is_enabled() and not access.has_password(name, password)


def build_diff(current: User, after: str, renews: bool) -> Dict[str, str]:
    """The user before and after."""
    header = f"etcd user {current.name}"
    note = ("password (hidden)\n", "password (hidden, new)\n") if renews else ("", "")
    return {
        "before_header": header,
        "after_header": header,
        "before": current.lines + note[0],
        "after": after + note[1],
    }


def main() -> None:
    """Run the module."""
    grant = {
        "key": {"type": "str", "required": True, "no_log": False},
        "access": {"type": "str", "choices": list(ACCESS), "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_SPEC,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str", "required": True},
            "user_password": {"type": "str", "no_log": True},
            "grants": {"type": "list", "elements": "dict", "default": [], "options": grant},
        },
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: apply_user(module))


if __name__ == "__main__":
    main()
