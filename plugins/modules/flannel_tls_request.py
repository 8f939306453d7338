#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_tls_request
short_description: Make a private key on a host, and a request for its certificate
description:
  - Makes the key if there is none, and returns a certificate signing request for it. The key never leaves the host.
  - For an authority of your own that signs elsewhere. M(weft.flannel.flannel_tls_certificate) does all of it.
extends_documentation_fragment:
  - weft.flannel._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Tells that a key is made, and what of its owner, group and mode changes. No key is shown.
  idempotent:
    support: full
    details: The request is another text at every run, and good for the same key.
  platform:
    support: full
options:
  path:
    description: The file of the key. Its directory must exist.
    type: path
    required: true
  common_name:
    description: The common name in the request.
    type: str
    required: true
  owner:
    description: The owner of the file.
    type: str
    default: root
  group:
    description: The group of the file.
    type: str
    default: root
  mode:
    description: The mode of the file.
    type: str
    default: "0600"
requirements:
  - The Python library C(cryptography) on the host. On Debian and Ubuntu it is the package C(python3-cryptography).
seealso:
  - module: weft.flannel.flannel_tls_certificate
  - module: weft.flannel.flannel_tls_certificate_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Ask for a certificate
  weft.flannel.flannel_tls_request:
    path: /etc/flanneld/tls/client.key
    common_name: flanneld
  register: tls

- name: Show what the authority is to sign
  ansible.builtin.debug:
    msg: "{{ tls.request }}"
"""

RETURN = r"""
path:
  description: The file of the key.
  type: str
  returned: success
  sample: /etc/flanneld/tls/client.key
request:
  description: The request in PEM. V(null) in check mode if there is no key yet.
  type: str
  returned: success
  sample: "-----BEGIN CERTIFICATE REQUEST-----..."
error:
  description: The kind of failure.
  type: str
  returned: failure
  sample: CertificateError
subject:
  description: What the failure is about.
  type: str
  returned: failure
  sample: private key /etc/flanneld/tls/client.key
cause:
  description: What is wrong with it.
  type: str
  returned: failure
  sample: it is encrypted
next_step:
  description: What to do about it.
  type: str
  returned: failure
  sample: put the key without its passphrase there, readable by root only
"""

import os
import tempfile
from pathlib import Path
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import run_module
from ansible_collections.weft.flannel.plugins.module_utils._errors import CertificateError
from ansible_collections.weft.flannel.plugins.module_utils._tls import check_common_name
from ansible_collections.weft.flannel.plugins.module_utils._x509 import make_key, make_request, read_key


def ensure_key(module: AnsibleModule) -> Dict[str, Any]:
    """The return values, after the key is there (in check mode: would be)."""
    path, common_name = module.params["path"], module.params["common_name"]
    check_common_name(common_name)
    missing = not os.path.lexists(path)
    before, after = ("absent", "a private key") if missing else ("a private key", "a private key")
    diff: Dict[str, Any] = {
        "before_header": path, "after_header": path, "before": f"{before}\n", "after": f"{after}\n",
    }  # fmt: skip
    if missing and module.check_mode:
        return {"changed": True, "path": path, "request": None, "diff": diff}
    if missing:
        write_key(module, path, make_key())
    attributes = module.load_file_common_arguments(module.params)
    changed = module.set_fs_attributes_if_different(attributes, missing)
    return {"changed": changed, "path": path, "request": request_for(path, common_name), "diff": diff}


def request_for(path: str, common_name: str) -> str:
    """The request for the key in the file. Raises CertificateError."""
    subject = f"private key {path}"
    try:
        key = Path(path).read_bytes()
    except OSError as error:
        raise CertificateError(
            subject, f"cannot be read ({error.strerror})", "make it a file that this user may read"
        ) from None
    read_key(key, subject)
    return make_request(key, common_name)


def write_key(module: AnsibleModule, path: str, key: bytes) -> None:
    """Put the key there whole, at no moment readable for others. Raises CertificateError."""
    try:
        handle, temporary = tempfile.mkstemp(dir=Path(path).parent, prefix=".key.")
        module.add_cleanup_file(temporary)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        raise CertificateError(
            f"private key {path}",
            f"cannot be written ({error.strerror})",
            "name a file in a directory that exists and that this user may write to",
        ) from None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "common_name": {"type": "str", "required": True},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "str", "default": "0600"},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: ensure_key(module))


if __name__ == "__main__":
    main()
