# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin that asks etcd."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nodes
author: Weft contributors (@weft-net)
version_added: 0.1.0
short_description: The hosts of a flannel network, as etcd knows them
description:
  - Lists the hosts that are up, by their node entries, which flanneld of this collection writes below the prefix of the
    network.
  - Hosts with a lease and without a node entry are listed too, by their public IP. They are down, or run upstream's
    flanneld.
  - The groups are C(flannel_live) or C(flannel_silent), and C(flannel_backend_vxlan) and so on.
  - Each host has the variable C(flannel_store) with what etcd says about it. Its keys are C(live), C(node_id), C(host),
    C(boot_id), C(version), C(public_ip), C(public_ipv6), C(key), C(subnet), C(ipv6_subnet), C(reservation) and
    C(backend_type). C(ansible_host) is the public IP.
  - The file with the options must end with C(flannel.yml) or C(flannel.yaml).
extends_documentation_fragment:
  - weft.flannel._etcd
  - ansible.builtin.constructed
options:
  plugin:
    description: Says that the file is for this plugin.
    type: str
    required: true
    choices: [weft.flannel.nodes]
  username:
    description: The etcd user to log in as. Needs O(password), and C(https) for all O(endpoints). May be a template.
    type: str
    aliases: [user]
    env:
      - name: FLANNEL_ETCD_USERNAME
  password:
    description:
      - The password of O(username).
      - Keep it out of the file. Give it in the environment, by a template with a lookup, or with Ansible Vault.
    type: str
    env:
      - name: FLANNEL_ETCD_PASSWORD
  silent:
    description: Whether to list hosts that have a lease and no node entry.
    type: bool
    default: true
seealso:
  - plugin: weft.flannel.flannel_lease_info
    plugin_type: module
"""

EXAMPLES = r"""
# flannel.yml
plugin: weft.flannel.nodes
endpoints:
  - http://192.0.2.10:2379

---
# secured.flannel.yml: TLS, a password from a file, names and groups of one's own
plugin: weft.flannel.nodes
endpoints:
  - https://192.0.2.10:2379
ca_cert: /etc/ssl/etcd/ca.crt
username: operator
password: "{{ lookup('ansible.builtin.file', '/root/etcd-password') }}"
silent: false
compose:
  ansible_user: "'admin'"
groups:
  pinned: flannel_store.reservation
keyed_groups:
  - key: flannel_store.version
    prefix: flanneld
"""

from typing import Any, Dict

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.weft.flannel.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    connected_store,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._holders import read_holders
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout
from ansible_collections.weft.flannel.plugins.plugin_utils._inventory import SILENT, InventoryHost, list_hosts


class InventoryModule(BaseInventoryPlugin, Constructable):
    """Reads the store and tells Ansible of its hosts."""

    NAME = "weft.flannel.nodes"

    def verify_file(self, path: str) -> bool:
        """Whether the file is for this plugin, by its name."""
        return bool(super().verify_file(path)) and path.endswith(("flannel.yml", "flannel.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory. Raises AnsibleParserError, which never holds a secret."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        params = self._read_connection()
        layout = Layout.from_prefix(params["prefix"])
        try:
            with connected_store(params) as store:
                hosts = list_hosts(layout, read_holders(store, layout))
        except FlannelError as error:
            raise AnsibleParserError(f"{path}: {error}") from None
        for host in hosts:
            if self.get_option("silent") or SILENT not in host.groups:
                self._add(host)

    def _read_connection(self) -> Dict[str, Any]:
        params: Dict[str, Any] = {name: self.get_option(name) for name in CONNECTION_SPEC}
        for name in ("username", "password"):
            if params[name]:
                params[name] = str(self.templar.template(params[name]))
        return params

    def _add(self, host: InventoryHost) -> None:
        name = self.inventory.add_host(host.name)
        # Whoever writes to etcd must not have templates evaluated here.
        self.inventory.set_variable(name, "flannel_store", wrap_var(host.facts))
        if host.address is not None:
            self.inventory.set_variable(name, "ansible_host", host.address)
        for group in host.groups:
            self.inventory.add_host(name, self.inventory.add_group(self._sanitize_group_name(group)))
        variables = self.inventory.get_host(name).get_vars()
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        variables = self.inventory.get_host(name).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
