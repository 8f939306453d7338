#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_etcd_auth
short_description: Turn the authentication of etcd on or off
description:
  - Before it is turned on, the module makes sure that the options of this task still open etcd as root afterwards.
    It refuses to lock you out.
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
  enabled:
    description: Whether etcd asks who is asking.
    type: bool
    default: true
seealso:
  - module: weft.flannel.flannel_etcd_user
  - module: weft.flannel.flannel_etcd_user_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Make the user that may do everything
  weft.flannel.flannel_etcd_user:
    endpoints: [https://192.0.2.10:2379]
    ca_cert: /etc/etcd/tls/ca.crt
    client_cert: /etc/etcd/tls/root.crt
    client_key: /etc/etcd/tls/root.key
    name: root

- name: Have etcd ask who is asking
  weft.flannel.flannel_etcd_auth:
    endpoints: [https://192.0.2.10:2379]
    ca_cert: /etc/etcd/tls/ca.crt
    client_cert: /etc/etcd/tls/root.crt
    client_key: /etc/etcd/tls/root.key
"""

RETURN = r"""
enabled:
  description: Whether authentication is on afterwards.
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

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    REQUIRED_TOGETHER,
    run_module,
)
from ansible_collections.weft.flannel.plugins.module_utils._etcd_access import (
    connected_access,
    refuse_lockout,
)


def apply_auth(module: AnsibleModule) -> Dict[str, Any]:
    """The return values, after authentication is as wanted (in check mode: would be)."""
    wanted = module.params["enabled"]
    with connected_access(module.params) as access:
        enabled = access.is_enabled()
        changed = enabled != wanted
        if changed and wanted:
            refuse_lockout(module.params, access)
        if changed and not module.check_mode:
            if wanted:
                access.enable()
            else:
                access.disable()
            # Whoever did it can still manage etcd, or is told now.
            access.list_users()
    return {"changed": changed, "enabled": wanted, "diff": build_diff(enabled, wanted)}


def build_diff(before: bool, after: bool) -> Dict[str, str]:
    """Authentication before and after."""
    texts = {True: "on\n", False: "off\n"}
    return {
        "before_header": "etcd authentication",
        "after_header": "etcd authentication",
        "before": texts[before],
        "after": texts[after],
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**CONNECTION_SPEC, "enabled": {"type": "bool", "default": True}},
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: apply_auth(module))


if __name__ == "__main__":
    main()
