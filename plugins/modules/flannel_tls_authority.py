#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_tls_authority
short_description: Make the certificate authority of a cluster, on the controller
description:
  - Makes C(ca.key) and C(ca.crt) in a directory of the controller. The key never leaves it.
  - An authority that is there is used as it is, so that your own can be brought as these two files, in PEM and without
    a passphrase. It is never replaced.
  - To have a new one made, move the directory away.
extends_documentation_fragment:
  - weft.flannel._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Tells that an authority is made. No key is shown.
  idempotent:
    support: full
  platform:
    support: full
  action:
    description: Runs on the controller, whichever host the task is for, so it needs C(run_once).
    support: full
options:
  directory:
    description: The directory on the controller. It is made, for the user who runs the play only.
    type: path
    required: true
  common_name:
    description: The name of an authority that is made.
    type: str
    default: flannel
  days:
    description: How long an authority that is made is valid.
    type: int
    default: 3650
  warn_days:
    description: Warn when it has fewer days left than this.
    type: int
    default: 365
requirements:
  - The Python library C(cryptography) 42 or later on the controller. ansible-core needs it too.
seealso:
  - module: weft.flannel.flannel_tls_certificate
  - module: weft.flannel.flannel_tls_certificate_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Make the certificate authority
  weft.flannel.flannel_tls_authority:
    directory: "{{ inventory_dir }}/.flannel-tls"
  run_once: true
"""

RETURN = r"""
directory:
  description: The directory on the controller.
  type: str
  returned: success
  sample: /home/me/cluster/.flannel-tls
certificate:
  description: Its certificate in PEM, V(null) in check mode if there is none yet. So are the values below.
  type: str
  returned: success
  sample: "-----BEGIN CERTIFICATE-----..."
common_name:
  description: Its name.
  type: str
  returned: success
  sample: flannel
fingerprint:
  description: The SHA-256 of the certificate, in hexadecimal.
  type: str
  returned: success
  sample: 4070429fe740a5c61fdfc7b1f7d52b9cf1ba5b6c3d9c1d2d2a9bd7b1e1f0c0aa
days_left:
  description: How many days it is still valid.
  type: int
  returned: success
  sample: 3649
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

# What runs is plugins/action/flannel_tls_authority.py; this file documents it.
