#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_import
short_description: Bring the data of flannel up to v0.17 from etcd's v2 API to v3
description:
  - Writes the network config and the leases of an export of the v2 API to where flannel since v0.18, and the flanneld
    of this collection, look for them. Leases get the time that they have left; those without become reservations.
  - Never writes over a key that exists. Where etcd holds something else than the export, nothing is written, and the
    message names each conflict. A lease that its host has written anew since is no conflict.
  - The leases come before the config, so that no flanneld takes a subnet of somebody else.
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
    support: full
    details: As long as the leases live. One that has ended in etcd meanwhile is written again.
  platform:
    support: full
options:
  src:
    description:
      - File on the host where the module runs, with what the v2 API answers to
        C(GET /v2/keys/coreos.com/network?recursive=true). That of a directory above is fine as well.
    type: path
    required: true
  export_prefix:
    description: The prefix of the network in the export. Without it, O(prefix).
    type: str
seealso:
  - module: weft.flannel.flannel_network_info
  - module: weft.flannel.flannel_lease_info
  - name: Migration
    description: From upstream in place, from v2-era data, and back.
    link: https://github.com/weft-net/weft.flannel/blob/main/docs/migration.md
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Read the data while the old etcd is still there
  ansible.builtin.get_url:
    url: http://192.0.2.10:2379/v2/keys/coreos.com/network?recursive=true
    dest: /root/flannel-v2.json
    mode: "0600"

- name: Bring them to v3
  weft.flannel.flannel_import:
    endpoints:
      - http://192.0.2.20:2379
    src: /root/flannel-v2.json
"""

RETURN = r"""
config:
  description: The etcd key of the network config.
  type: str
  returned: success
  sample: /coreos.com/network/config
leases:
  description: The leases of the export that are in etcd now, in check mode would be.
  type: list
  elements: dict
  returned: success
  contains:
    key:
      description: The etcd key.
      type: str
      sample: /coreos.com/network/subnets/10.5.34.0-24
    public_ip:
      description: The IPv4 address at which the other hosts reach the host, V(null) if there is none.
      type: str
      sample: 192.0.2.11
    seconds_left:
      description: Seconds until it ends by the export, V(null) for a reservation.
      type: int
      sample: 81230
    written:
      description: Whether it was written now. V(false) for one that was there.
      type: bool
      sample: true
expired:
  description: Keys of leases in the export that have ended since.
  type: list
  elements: str
  returned: success
left_out:
  description: Keys in the export that are no leases of this network.
  type: list
  elements: dict
  returned: success
  contains:
    key:
      description: The etcd key that it would have.
      type: str
      sample: /coreos.com/network/subnets/junk
    reason:
      description: Why not.
      type: str
      sample: is not a subnet
error:
  description: >-
    The kind of failure, for plays that treat them differently, for example V(ImportConflict), V(OptionError) or
    V(StoreUnavailable).
  type: str
  returned: failure
  sample: ImportConflict
subject:
  description: What the failure is about.
  type: str
  returned: failure
  sample: etcd below /coreos.com/network
cause:
  description: What is wrong with it.
  type: str
  returned: failure
  sample: >-
    it holds something else than the export: 10.5.34.0-24 of 192.0.2.11 against 10.5.34.0-24 of 192.0.2.12
next_step:
  description: What to do about it.
  type: str
  returned: failure
  sample: nothing was written; remove what is wrong there
"""

from datetime import datetime, timezone
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    REQUIRED_TOGETHER,
    connected_store,
    run_module,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import StoreLibraryMissing
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout
from ansible_collections.weft.flannel.plugins.module_utils._network import NOTHING_STORED
from ansible_collections.weft.flannel.plugins.module_utils._v2_export import (
    apply_import,
    describe_import,
    plan_import,
    read_export,
    read_text,
)


def import_network(module: AnsibleModule) -> Dict[str, Any]:
    """The return values, after etcd holds what the export does (in check mode: would hold)."""
    layout = Layout.from_prefix(module.params["prefix"])
    export = read_export(
        read_text(module.params["src"]),
        module.params["export_prefix"] or layout.prefix,
        datetime.now(timezone.utc),
    )
    try:
        with connected_store(module.params) as store:
            plan = apply_import(store, layout, export, lambda: not module.check_mode)
    except StoreLibraryMissing as error:
        if not module.check_mode:
            raise
        module.warn(f"{error}. Check mode shows the change as if etcd were empty.")
        plan = plan_import(export, NOTHING_STORED, layout)
    return describe_import(layout, export, plan)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_SPEC,
            "src": {"type": "path", "required": True},
            "export_prefix": {"type": "str"},
        },
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: import_network(module))


if __name__ == "__main__":
    main()
