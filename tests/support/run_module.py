# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one module of the collection as Ansible's wrapper does on a host, without the seconds that Ansible itself takes.

Arguments: the directories to import from (ansible, ansible_collections), then the module's name. Standard input: its
arguments as JSON, those of Ansible (`_ansible_check_mode`) among them.
"""

from __future__ import annotations

import json
import runpy
import sys

if __name__ == "__main__":
    *directories, name = sys.argv[1:]
    # Instead of the directory of this file, where `etcd` is not what a module means.
    sys.path[:1] = directories
    from ansible.module_utils import basic

    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": json.load(sys.stdin)}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    runpy.run_module(
        f"ansible_collections.weft.flannel.plugins.modules.{name}", run_name="__main__", alter_sys=True
    )
