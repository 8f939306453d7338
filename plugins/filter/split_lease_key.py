# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the key of a lease says."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from ansible.errors import AnsibleFilterError
from ansible_collections.weft.flannel.plugins.module_utils._connection import text_or_none
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._lease import parse_key

DOCUMENTATION = r"""
name: split_lease_key
author: Weft contributors (@weft-net)
version_added: 0.1.0
short_description: The subnets that the key of a lease names
description:
  - Reads a key below C(subnets/) as flanneld does, with or without what is before it.
positional: _input
options:
  _input:
    description: The key, such as V(10.5.34.0-24) or V(/coreos.com/network/subnets/10.5.34.0-24&fd00:5:0:22::-64).
    type: str
    required: true
seealso:
  - plugin: weft.flannel.flannel_lease_info
    plugin_type: module
"""

EXAMPLES = r"""
- name: Prints 10.5.34.0/24
  ansible.builtin.debug:
    msg: "{{ ('10.5.34.0-24&fd00:5:0:22::-64' | weft.flannel.split_lease_key).subnet }}"
"""

RETURN = r"""
_value:
  description: C(subnet) and C(ipv6_subnet), in CIDR notation. V(null) for a family that the key does not name.
  type: dict
"""


def split_lease_key(key: str) -> Dict[str, Optional[str]]:
    """The subnets of a key, by the names that the modules give them."""
    try:
        subnets = parse_key(key.rpartition("/")[2])
    except FlannelError as error:
        raise AnsibleFilterError(f"split_lease_key: {error}") from None
    return {"subnet": text_or_none(subnets.v4), "ipv6_subnet": text_or_none(subnets.v6)}


class FilterModule:
    """Tells Ansible the filter's name."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"split_lease_key": split_lease_key}
