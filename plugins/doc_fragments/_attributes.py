# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module states about itself, by extending a fragment instead of by prose."""

from __future__ import annotations


class ModuleDocFragment:
    """The description of every attribute; the module adds C(support) where it is its own."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and report what would change without changing it.
  diff_mode:
    description: Reports what has changed, or would change in C(check_mode), when run in diff mode.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second run reports no change.
      - This assumes that what the module looks at has not changed in between.
  platform:
    description: The operating systems the module runs on.
    support: full
    platforms: linux
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details: This module only reads.
  diff_mode:
    support: N/A
    details: This module only reads.
  idempotent:
    support: full
    details: This module only reads.
"""

    ACTIONGROUP_ETCD = r"""
options: {}
attributes:
  action_group:
    description: >-
      Set the options that say how to reach etcd once for all modules, with C(group/weft.flannel.flannel) in
      C(module_defaults).
    support: full
    membership:
      - weft.flannel.flannel
      - weft.flannel.etcd
"""
