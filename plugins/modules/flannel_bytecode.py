#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_bytecode
short_description: Have flanneld start without compiling itself
description:
  - Python compiles what it loads from an archive at every start. This makes a copy of the archive that has the byte
    code as well, by the Python of the host, and puts it beside the archive. flanneld loads that copy if it is there.
  - The archive itself stays as it is, and is enough. After an upgrade of the host's Python the byte code is that of
    another version, which Python overlooks; it compiles again then until this module has run.
  - M(weft.flannel.flannel_bundle) does this for the archive that it brings.
extends_documentation_fragment:
  - weft.flannel._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Tells whether there is byte code for the host's Python; it is binary itself.
  idempotent:
    support: full
  platform:
    support: full
options:
  archive:
    description:
      - The archive on the host, as M(weft.flannel.flannel_bundle) puts it there.
      - In check mode it may be missing.
    type: path
    required: true
  sha256:
    description:
      - The SHA-256 that the archive must have, in hexadecimal. With another one it counts as none.
      - Without this option any archive will do.
    type: str
  python:
    description: The Python that runs the archive.
    type: path
    default: /usr/bin/python3
seealso:
  - module: weft.flannel.flannel_bundle
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Have flanneld start without compiling itself, after an upgrade of Python
  weft.flannel.flannel_bytecode:
    archive: /usr/lib/flanneld/flanneld-0.1.0-4070429fe740.pyz
"""

RETURN = r"""
bytecode:
  description: The copy with the byte code.
  type: str
  returned: success
  sample: /usr/lib/flanneld/flanneld-0.1.0-4070429fe740.pyzc
error:
  description: The kind of failure.
  type: str
  returned: failure
  sample: ArchiveMissing
subject:
  description: What the failure is about.
  type: str
  returned: failure
  sample: archive /usr/lib/flanneld/flanneld-0.1.0-4070429fe740.pyz
cause:
  description: What is wrong with it.
  type: str
  returned: failure
  sample: there is no such file
next_step:
  description: What to do about it.
  type: str
  returned: failure
  sample: put it there with weft.flannel.flannel_bundle
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import run_module
from ansible_collections.weft.flannel.plugins.module_utils._program import (
    ArchiveMissing,
    compare,
    describe,
    name_compiled,
    require_archive,
    write,
)


def ensure_bytecode(module: AnsibleModule) -> Dict[str, Any]:
    """The return values, after the byte code is there (in check mode: would be). Raises BytecodeError, which
    ArchiveMissing is."""
    archive, python = module.params["archive"], module.params["python"]
    try:
        require_archive(archive, module.params["sha256"])
        is_current = compare(module, python, archive)
    except ArchiveMissing:
        # In check mode, what a task before this one would bring has not come.
        if not module.check_mode:
            raise
        is_current = False
    if not is_current and not module.check_mode:
        write(module, python, archive)
        module.set_default_selinux_context(name_compiled(archive), False)
    return {
        "changed": not is_current,
        "bytecode": name_compiled(archive),
        "diff": describe(archive, is_current),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "archive": {"type": "path", "required": True},
            "sha256": {"type": "str"},
            "python": {"type": "path", "default": "/usr/bin/python3"},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: ensure_bytecode(module))


if __name__ == "__main__":
    main()
