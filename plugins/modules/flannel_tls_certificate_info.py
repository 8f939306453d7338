#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_tls_certificate_info
short_description: Tell what a certificate on a host says
description:
  - Reads the first certificate of a file in PEM, and compares it with its private key if O(key_path) is given.
  - A certificate that is missing or cannot be read is no failure. It is returned as such.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.info_module
attributes:
  platform:
    support: full
options:
  path:
    description: The file of the certificate.
    type: path
    required: true
  key_path:
    description: The file of its private key. The key is neither returned nor shown.
    type: path
requirements:
  - The Python library C(cryptography) on the host, if the file exists. On Debian and Ubuntu it is the package
    C(python3-cryptography).
seealso:
  - module: weft.flannel.flannel_tls_certificate
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Look at the certificate that flanneld shows to etcd
  weft.flannel.flannel_tls_certificate_info:
    path: /etc/flanneld/tls/client.crt
    key_path: /etc/flanneld/tls/client.key
  register: certificate

- name: Insist on a month
  ansible.builtin.assert:
    that:
      - certificate.days_left > 30
"""

RETURN = r"""
exists:
  description: Whether the file exists.
  type: bool
  returned: success
  sample: true
problem:
  description: Why it cannot be used as a certificate, V(null) if it can, or if it does not exist.
  type: str
  returned: success
  sample: it is no certificate in PEM
pem:
  description: The text of the file, V(null) if it does not exist.
  type: str
  returned: success
  sample: "-----BEGIN CERTIFICATE-----..."
key_matches:
  description: Whether the private key is that of the certificate. V(null) without O(key_path).
  type: bool
  returned: success
  sample: true
key_access:
  description:
    - Owner, group and mode of the private key. V(null) if there is none, or without O(key_path).
  type: str
  returned: success
  sample: root:root 0600
common_name:
  description: The common name of its subject. It and the values below are V(null) if there is no certificate to read.
  type: str
  returned: success
  sample: flanneld
issuer:
  description: The common name of the authority that signed it.
  type: str
  returned: success
  sample: flannel
names:
  description: The IP addresses and DNS names that it is valid for.
  type: list
  elements: str
  returned: success
  sample: [192.0.2.10]
usages:
  description: What it may be used for, of V(server) and V(client).
  type: list
  elements: str
  returned: success
  sample: [client]
fingerprint:
  description: The SHA-256 of the certificate, in hexadecimal.
  type: str
  returned: success
  sample: 4070429fe740a5c61fdfc7b1f7d52b9cf1ba5b6c3d9c1d2d2a9bd7b1e1f0c0aa
not_before:
  description: From when it is valid, in UTC.
  type: str
  returned: success
  sample: "2026-11-28T04:00:00+00:00"
not_after:
  description: Until when it is valid, in UTC.
  type: str
  returned: success
  sample: "2027-11-28T05:00:00+00:00"
days_left:
  description: How many days that is from now; below 0 when it has ended.
  type: int
  returned: success
  sample: 364
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

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import run_module
from ansible_collections.weft.flannel.plugins.module_utils._errors import CertificateError
from ansible_collections.weft.flannel.plugins.module_utils._files import read_access
from ansible_collections.weft.flannel.plugins.module_utils._tls import Certificate
from ansible_collections.weft.flannel.plugins.module_utils._x509 import is_pair, read_certificate

NOTHING: Mapping[str, None] = dict.fromkeys(
    ("common_name", "issuer", "names", "usages", "fingerprint", "not_before", "not_after", "days_left")
)


def describe_file(path: str, key_path: Optional[str]) -> Dict[str, Any]:
    """The return values of the module. Raises CertificateError for a file that is there and cannot be opened."""
    content = read_file(path)
    described: Dict[str, Any] = {
        "changed": False, "exists": content is not None, "problem": None, "pem": None, "key_matches": None,
        "key_access": describe_access(key_path), **NOTHING,
    }  # fmt: skip
    if content is None:
        return described
    described["pem"] = content.decode("ascii", "replace")
    try:
        certificate = read_certificate(content, f"certificate {path}")
    except CertificateError as error:
        return {**described, "problem": error.cause}
    matches = None if key_path is None else is_key_of(content, key_path)
    return {**described, "key_matches": matches, **describe_certificate(certificate)}


def describe_access(key_path: Optional[str]) -> Optional[str]:
    """The return value about who may use the key."""
    access = None if key_path is None else read_access(key_path)
    return None if access is None else str(access)


def is_key_of(content: bytes, key_path: str) -> bool:
    """Whether the file holds the key of the certificate; a key that cannot be read is not."""
    key = read_file(key_path)
    try:
        return key is not None and is_pair(content, key)
    except CertificateError:
        return False


def describe_certificate(certificate: Certificate) -> Dict[str, Any]:
    """The return values about what it says."""
    return {
        "common_name": certificate.common_name,
        "issuer": certificate.issuer,
        "names": list(certificate.names),
        "usages": list(certificate.usages),
        "fingerprint": certificate.fingerprint,
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "days_left": certificate.days_left(datetime.now(timezone.utc)),
    }


def read_file(path: str) -> Optional[bytes]:
    """What is in the file, None if it does not exist. Raises CertificateError."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CertificateError(
            f"file {path}", f"cannot be read ({error.strerror})", "name a file that this user may read"
        ) from None


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            # A path, not the key itself.
            "key_path": {"type": "path", "no_log": False},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: describe_file(module.params["path"], module.params["key_path"]))


if __name__ == "__main__":
    main()
