#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_tls_certificate
short_description: Give a host a certificate of the cluster's authority
description:
  - The host makes the private key, which never leaves it. The controller signs the certificate, and the host gets it.
  - The certificate is made anew when less than O(renew_percent) of its life is left, when its names or usages are
    others, when it is not the authority's, when its key is gone, and when it cannot be read. Otherwise nothing changes.
  - The key stays. To have another one made, remove the file.
  - What the certificate says comes from the options of the task alone. A host cannot ask for more.
extends_documentation_fragment:
  - weft.flannel._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows what the certificate says before and after. No key is shown.
  idempotent:
    support: full
  platform:
    support: full
  action:
    description: Signs on the controller.
    support: full
options:
  authority:
    description: The directory of M(weft.flannel.flannel_tls_authority) on the controller.
    type: path
    required: true
  common_name:
    description: The common name. For etcd with authentication, the etcd user of a client.
    type: str
    required: true
  names:
    description: The IP addresses and DNS names that it is valid for. A server needs at least one.
    type: list
    elements: str
    default: []
  usages:
    description: What it may be used for.
    type: list
    elements: str
    choices: [server, client]
    required: true
  days:
    description: How long a certificate that is made is valid. It ends with its authority at the latest.
    type: int
    default: 365
  renew_percent:
    description: A certificate is made anew when less than this share of its life is left.
    type: int
    default: 33
  path:
    description: The file of the certificate on the host. Its directory must exist.
    type: path
    required: true
  key_path:
    description: The file of the private key on the host.
    type: path
    required: true
  ca_path:
    description: A file on the host for the certificate of the authority. Without it, none is written.
    type: path
  owner:
    description: The owner of the files.
    type: str
    default: root
  group:
    description: The group of the files.
    type: str
    default: root
  key_mode:
    description: The mode of the private key.
    type: str
    default: "0600"
requirements:
  - The Python library C(cryptography), 42 or later on the controller. On hosts the package C(python3-cryptography) of
    Debian 12 is enough.
seealso:
  - module: weft.flannel.flannel_tls_authority
  - module: weft.flannel.flannel_tls_certificate_info
  - module: weft.flannel.flannel_tls_request
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Give etcd a certificate
  weft.flannel.flannel_tls_certificate:
    authority: "{{ inventory_dir }}/.flannel-tls"
    common_name: etcd
    names: [192.0.2.10, etcd1.example.com]
    usages: [server, client]
    path: /etc/etcd/tls/server.crt
    key_path: /etc/etcd/tls/server.key
    ca_path: /etc/etcd/tls/ca.crt
    group: etcd
    key_mode: "0640"
"""

RETURN = r"""
path:
  description: The file of the certificate on the host.
  type: str
  returned: success
  sample: /etc/etcd/tls/server.crt
reasons:
  description: Why it was made anew, or would be. Empty if it fits.
  type: list
  elements: str
  returned: success
  sample: ["100 of its 365 days are left"]
days_left:
  description: How many days it is valid afterwards.
  type: int
  returned: success
  sample: 365
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

# What runs is plugins/action/flannel_tls_certificate.py; this file documents it.
