# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address of a container bridge."""

from __future__ import annotations

from typing import Any, Callable, Dict

from ansible.errors import AnsibleFilterError
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._subnet import first_usable, parse_cidr

DOCUMENTATION = r"""
name: bridge_address
author: Weft contributors (@weft-net)
version_added: 0.1.0
short_description: The address of the container bridge of a subnet
description:
  - It is the first usable address, which flanneld writes as C(FLANNEL_SUBNET) into C(subnet.env).
positional: _input
options:
  _input:
    description: The subnet of a host, of either family, in CIDR notation.
    type: str
    required: true
seealso:
  - plugin: weft.flannel.flannel_lease_info
    plugin_type: module
"""

EXAMPLES = r"""
- name: Prints 10.5.34.1/24
  ansible.builtin.debug:
    msg: "{{ '10.5.34.0/24' | weft.flannel.bridge_address }}"
"""

RETURN = r"""
_value:
  description: The address and the prefix length.
  type: str
"""


def bridge_address(subnet: str) -> str:
    """The address that Docker's bridge gets, with the length of the subnet."""
    try:
        return first_usable(parse_cidr(subnet))
    except FlannelError as error:
        raise AnsibleFilterError(f"bridge_address: {error}") from None


class FilterModule:
    """Tells Ansible the filter's name."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"bridge_address": bridge_address}
