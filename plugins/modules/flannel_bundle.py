#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_bundle
short_description: Put flanneld on a host
description:
  - Packs the flanneld of this collection, and the rules it shares with the modules, into one archive on the controller
    and copies it to the host.
  - The archive depends on the sources alone, and its name carries their version and hash. Equal names are equal
    programs, on every host and from every controller.
  - The archive is a zip application. C(/usr/bin/python3 ARCHIVE --version) runs it.
  - The host compiles it once, with its own C(/usr/bin/python3), as M(weft.flannel.flannel_bytecode) does. A virtual
    environment that was made with that Python takes the same byte code.
extends_documentation_fragment:
  - weft.flannel._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: partial
    details: Tells that the archive and its byte code change; their content is binary.
  idempotent:
    support: full
  platform:
    support: full
  action:
    description: Runs on the controller, with the help of M(ansible.builtin.copy) and M(weft.flannel.flannel_bytecode).
    support: full
options:
  directory:
    description: The directory on the host. It must exist.
    type: path
    required: true
seealso:
  - module: ansible.builtin.copy
  - module: weft.flannel.flannel_bytecode
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Put flanneld on the host
  weft.flannel.flannel_bundle:
    directory: /usr/lib/flanneld
  register: bundle

- name: Let it be the one that runs
  ansible.builtin.file:
    state: link
    src: "{{ bundle.dest | basename }}"
    dest: /usr/lib/flanneld/flanneld.pyz
"""

RETURN = r"""
dest:
  description: The archive on the host.
  type: str
  returned: success
  sample: /usr/lib/flanneld/flanneld-0.1.0-4070429fe740.pyz
version:
  description: The version of flanneld in it.
  type: str
  returned: success
  sample: 0.1.0
sha256:
  description: The SHA-256 of the archive, in hexadecimal.
  type: str
  returned: success
  sample: 4070429fe740a5c61fdfc7b1f7d52b9cf1ba5b6c3d9c1d2d2a9bd7b1e1f0c0aa
"""

# What runs is plugins/action/flannel_bundle.py; this file documents it.
