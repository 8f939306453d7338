#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_etcd_snapshot
short_description: Save all data of an etcd cluster to a file
description:
  - Writes what one of the O(endpoints) holds to a file that C(etcdctl snapshot restore) takes.
  - The file is readable for its owner only, and complete or not there at all. One that exists stays as it is.
  - With authentication turned on, etcd wants the user root for it.
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
    details: Only whether the file exists is looked at, not its age.
  platform:
    support: full
options:
  dest:
    description: The file to write, on the host where the module runs. Its directory must exist.
    type: path
    required: true
seealso:
  - module: weft.flannel.flannel_etcd_member_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Save the data of etcd
  weft.flannel.flannel_etcd_snapshot:
    endpoints:
      - http://192.0.2.10:2379
    dest: /root/etcd-2026-11-28.db
"""

RETURN = r"""
dest:
  description: The file.
  type: str
  returned: success
  sample: /root/etcd-2026-11-28.db
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

import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Dict, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    REQUIRED_TOGETHER,
    run_module,
    store_options,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import MemberError
from ansible_collections.weft.flannel.plugins.module_utils._members import open_cluster


def save_snapshot(params: Mapping[str, Any], check_mode: bool) -> Dict[str, Any]:
    """The return values of the module. Raises StoreError."""
    dest = Path(params["dest"])
    if not dest.parent.is_dir():
        raise MemberError(
            f"etcd snapshot {dest}", "its directory does not exist", "make it, or name another file in dest"
        )
    exists = dest.exists()
    if not exists and not check_mode:
        _write(params, dest)
    return {
        "changed": not exists,
        "diff": [{"before": f"{dest}\n" if exists else "", "after": f"{dest}\n"}],
        "dest": str(dest),
    }


def _write(params: Mapping[str, Any], dest: Path) -> None:
    with tempfile.TemporaryDirectory(dir=dest.parent, prefix=".etcd-snapshot-") as directory:
        part = Path(directory) / dest.name
        # For its owner only from the first byte: it holds all that etcd holds.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file, closing(open_cluster(store_options(params))) as cluster:
            for piece in cluster.save_snapshot():
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        part.rename(dest)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**CONNECTION_SPEC, "dest": {"type": "path", "required": True}},
        required_together=REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    run_module(module, lambda: save_snapshot(module.params, module.check_mode))


if __name__ == "__main__":
    main()
