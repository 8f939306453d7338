# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a subnet fits a network config."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Union

from ansible.errors import AnsibleFilterError
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError
from ansible_collections.weft.flannel.plugins.module_utils._lease_request import parse_subnet
from ansible_collections.weft.flannel.plugins.module_utils._reservation import find_misfit
from ansible_collections.weft.flannel.plugins.module_utils._subnet import family_of, parse_cidr
from ansible_collections.weft.flannel.plugins.plugin_utils._pools import read_pools

DOCUMENTATION = r"""
name: explain_misfit
author: Weft contributors (@weft-net)
version_added: 0.1.0
short_description: Why a network config has no place for a subnet
description:
  - Checks a subnet as flanneld checks a lease before it uses it. It must have the right length, and lie between
    SubnetMin and SubnetMax.
positional: _input, config
options:
  _input:
    description: The subnet, of either family, in CIDR notation.
    type: str
    required: true
  config:
    description: >-
      The network config, as M(weft.flannel.flannel_network_info) returns it, as the options of
      M(weft.flannel.flannel_network), or as upstream's JSON.
    type: raw
    required: true
seealso:
  - plugin: weft.flannel.flannel_reservation
    plugin_type: module
"""

EXAMPLES = r"""
- name: Stop before anything is reserved that no host can take
  ansible.builtin.assert:
    that: flannel_wanted_subnet | weft.flannel.explain_misfit(network.config) == ""
    fail_msg: "{{ flannel_wanted_subnet | weft.flannel.explain_misfit(network.config) }}"
"""

RETURN = r"""
_value:
  description: The reason, such as C(it lies before SubnetMin 10.5.1.0). Empty if the subnet fits.
  type: str
"""


def explain_misfit(subnet: str, config: Union[str, Mapping[str, Any]]) -> str:
    """Why no host can have the subnet under the config, "" if one can."""
    try:
        network = parse_subnet("subnet", subnet, parse_cidr)
        return find_misfit(read_pools(config), family_of(network), network) or ""
    except FlannelError as error:
        raise AnsibleFilterError(f"explain_misfit: {error}") from None


class FilterModule:
    """Tells Ansible the filter's name."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"explain_misfit": explain_misfit}
