# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module reaches etcd: the documentation of CONNECTION_SPEC in module_utils/_connection.py."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that talks to etcd."""

    DOCUMENTATION = r"""
options:
  endpoints:
    description:
      - The etcd members to talk to, as C(http://host:port) or C(https://host:port). The next one is tried
        when one does not answer.
      - Without a scheme, C(https) is taken if O(ca_cert) or O(client_cert) is set, and C(http) if not. IPv6
        addresses are written in brackets.
    type: list
    elements: str
    default: [http://127.0.0.1:2379]
    aliases: [host]
  port:
    description: The port of those O(endpoints) that name none.
    type: int
    default: 2379
  ca_cert:
    description:
      - File with the CA certificates that etcd's certificate must come from, on the host where the module
        runs.
      - Without it, the CAs of that host decide.
    type: path
  client_cert:
    description: File with the certificate to show to etcd, in PEM. Needs O(client_key).
    type: path
  client_key:
    description: File with the private key of O(client_cert), in PEM and without a passphrase.
    type: path
  username:
    description:
      - The etcd user to log in as. Needs O(password), and C(https) for all O(endpoints).
    type: str
    aliases: [user]
  password:
    description: The password of O(username).
    type: str
  timeout:
    description: Seconds that one of the O(endpoints) may take for one call before the next one is tried.
    type: float
    default: 5
  prefix:
    description: The key below which etcd holds the network, as in the flag C(--etcd-prefix) of flanneld.
    type: str
    default: /coreos.com/network
    aliases: [etcd_prefix]
requirements:
  - The Python library C(etcd3), on the host where the module runs. On Debian and Ubuntu it is the package
    C(python3-etcd3).
notes:
  - etcd is asked over its v3 API. Data written over the v2 API is another store and cannot be seen.
  - The options O(host), O(port), O(user), O(password), O(ca_cert), O(client_cert), O(client_key) and O(timeout) have
    the names they have in C(community.general.etcd3).
"""
