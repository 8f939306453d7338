#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_files
short_description: Keep a set of small text files on a host, in one step
description:
  - Makes directories, writes files with the given text, and removes files. What would be a loop over
    M(ansible.builtin.file) and M(ansible.builtin.template), with a connection, a Python and two modules for every item,
    is one of each.
  - Everything is compared before anything is written. A file is replaced as a whole; a program that reads it sees the
    old text or the new one.
  - A directory in the place of a file, or the reverse, is refused, and nothing is changed then. A link in the place of
    a file is replaced; a link to a directory is as good as the directory.
extends_documentation_fragment:
  - weft.flannel._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: One diff for each path that changes.
  idempotent:
    support: full
  platform:
    support: full
options:
  directories:
    description: Directories that are to be there. Missing parents are made as well.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The whole path.
        type: str
        required: true
      owner:
        description: The name of its owner.
        type: str
        default: root
      group:
        description: The name of its group.
        type: str
        default: root
      mode:
        description: Its mode, four octal digits in quotes.
        type: str
        default: "0755"
  files:
    description: Files that are to be there. Their directories must exist or be among O(directories).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The whole path.
        type: str
        required: true
      content:
        description:
          - The text of the file, for example from the lookup P(ansible.builtin.template#lookup).
          - Where it is a secret, the task needs C(no_log).
        type: str
        required: true
      owner:
        description: The name of its owner.
        type: str
        default: root
      group:
        description: The name of its group.
        type: str
        default: root
      mode:
        description: Its mode, four octal digits in quotes.
        type: str
        default: "0644"
  absent:
    description: Files and links that are not to be there.
    type: list
    elements: str
    default: []
seealso:
  - module: ansible.builtin.template
  - module: ansible.builtin.file
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Keep networkd away from flannel's devices
  weft.flannel.flannel_files:
    directories:
      - path: /etc/systemd/network
    files:
      - path: /etc/systemd/network/50-flannel.link
        content: "{{ lookup('ansible.builtin.template', '50-flannel.link.j2') }}"
    absent:
      - /etc/systemd/network/flannel.link
"""

RETURN = r"""
paths:
  description: Those that differ from what was there before, in the order of the options.
  type: list
  elements: str
  returned: success
  sample: [/etc/systemd/network/50-flannel.link]
error:
  description: The kind of failure.
  type: str
  returned: failure
  sample: FileError
subject:
  description: What the failure is about.
  type: str
  returned: failure
  sample: /etc/systemd/network/50-flannel.link
cause:
  description: What is wrong with it.
  type: str
  returned: failure
  sample: there is to be a file and there is a directory
next_step:
  description: What to do about it.
  type: str
  returned: failure
  sample: look what it is for, and move it away if nobody needs it
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import run_module
from ansible_collections.weft.flannel.plugins.module_utils._files import list_wanted, plan, take


def ensure_files(module: AnsibleModule) -> Dict[str, Any]:
    """The return values, after all paths are as they are to be (in check mode: would be). Raises FileError."""
    steps = plan(list_wanted(module.params))
    if not module.check_mode:
        for step in steps:
            take(step, lambda path: module.set_default_selinux_context(path, False))
    return {
        "changed": bool(steps),
        "paths": [step.wanted.path for step in steps],
        "diff": [step.diff for step in steps],
    }


def access_options(mode: str) -> Dict[str, Dict[str, Any]]:
    """The suboptions that files and directories share."""
    return {
        "path": {"type": "str", "required": True},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "mode": {"type": "str", "default": mode},
    }


def main() -> None:
    """Run the module."""
    content = {"content": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "directories": {
                "type": "list", "elements": "dict", "default": [], "options": access_options("0755"),
            },
            "files": {
                "type": "list", "elements": "dict", "default": [], "options": {**access_options("0644"), **content},
            },
            "absent": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )  # fmt: skip
    run_module(module, lambda: ensure_files(module))


if __name__ == "__main__":
    main()
