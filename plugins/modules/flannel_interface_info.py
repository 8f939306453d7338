#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_interface_info
short_description: Tell which interface flanneld would use on a host, and why
description:
  - Applies flanneld's rules for the choice of the external interface to the interfaces and routes of the host
    as they are now.
  - Needs nothing on the host but Python and the command C(ip), so it works before flanneld is installed.
  - The options mean what the flags of flanneld with the same name mean.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.info_module
attributes:
  platform:
    support: full
options:
  iface:
    description:
      - Names or addresses of interfaces, tried in this order before O(iface_regex) and O(iface_can_reach).
      - With none of the three, the interface that carries O(public_ip) or O(public_ipv6) is taken. Where none
        carries it, and without these two, it is the interface of the default route.
    type: list
    elements: str
    default: []
  iface_regex:
    description:
      - Regular expressions, tried in this order after O(iface), first on the addresses of all interfaces and
        then on their names.
    type: list
    elements: str
    default: []
  iface_can_reach:
    description: >-
      An address. The interface that the host would reach it through is taken, if O(iface) and O(iface_regex)
      found none.
    type: str
    default: ""
  public_ip:
    description: >-
      The IPv4 address at which the other hosts reach this one, if it is not the one of the interface.
    type: str
    default: ""
  public_ipv6:
    description: >-
      The IPv6 address at which the other hosts reach this one, if it is not the one of the interface.
    type: str
    default: ""
  families:
    description: The address families that the network has. The interface must have an address in each.
    type: list
    elements: str
    choices: [ipv4, ipv6]
    default: [ipv4]
requirements:
  - The command C(ip) of iproute2 5.10 or later, on the host where the module runs.
seealso:
  - module: weft.flannel.flannel_network_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Which interface has the default route
  weft.flannel.flannel_interface_info:
  register: external

- name: The first interface with an address in the cluster network, whatever its name
  weft.flannel.flannel_interface_info:
    iface_regex:
      - ^192\.0\.2\.
  register: external

- name: A host behind NAT, in a network with both families
  weft.flannel.flannel_interface_info:
    iface:
      - eth1
    public_ip: 203.0.113.7
    families:
      - ipv4
      - ipv6
  register: external

- name: Say it
  ansible.builtin.debug:
    msg: "{{ external.interface }} publishes {{ external.public_ip }}: {{ external.reason }}"
"""

RETURN = r"""
interface:
  description: The name of the interface.
  type: str
  returned: success
  sample: eth1
index:
  description: The kernel's index of the interface.
  type: int
  returned: success
  sample: 3
mtu:
  description: The MTU of the interface, in bytes.
  type: int
  returned: success
  sample: 1500
ipv4:
  description: The IPv4 address of the interface that is used, V(null) without V(ipv4) in O(families).
  type: str
  returned: success
  sample: 192.0.2.11
ipv6:
  description: The IPv6 address of the interface that is used, V(null) without V(ipv6) in O(families).
  type: str
  returned: success
  sample: 2001:db8::11
public_ip:
  description: >-
    The IPv4 address that the lease of this host would publish, V(null) without V(ipv4) in O(families).
  type: str
  returned: success
  sample: 203.0.113.7
public_ipv6:
  description: >-
    The IPv6 address that the lease of this host would publish, V(null) without V(ipv6) in O(families).
  type: str
  returned: success
  sample: 2001:db8::11
reason:
  description: Why this interface, in one sentence.
  type: str
  returned: success
  sample: eth1 carries 192.0.2.11, which matches the pattern ^192\.0\.2\.
"""

from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import run_module, text_or_none
from ansible_collections.weft.flannel.plugins.module_utils._errors import InterfaceError
from ansible_collections.weft.flannel.plugins.module_utils._interface import (
    InterfaceChoice,
    InterfaceRequest,
    choose_interface,
    default_routes_from_ip_json,
    interfaces_from_ip_json,
    lookup_from_ip_json,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES, Address

# `ip -j` with these arguments: status, output, errors.
IpCommand = Callable[[Sequence[str]], Tuple[int, str, str]]


def find_ip(module: AnsibleModule) -> IpCommand:
    """The host's ip, wherever it is. Raises InterfaceError on a host without it."""
    # Not run_command("ip"): the PATH of an ordinary user often lacks /sbin.
    path = module.get_bin_path("ip")
    if path is None:
        raise InterfaceError("command ip", "the host does not have it", "install iproute2")
    return lambda arguments: module.run_command([path, "-j", *arguments])


def read_ip(run_ip: IpCommand, *arguments: str) -> str:
    """The JSON text that ip prints. Raises InterfaceError when it fails."""
    status, output, errors = run_ip(arguments)
    if status != 0:
        raise InterfaceError(
            f"command ip -j {' '.join(arguments)}",
            errors.strip() or f"it ended with status {status}",
            "install iproute2 5.10 or later",
        )
    return output


def choose(params: Mapping[str, Any], run_ip: IpCommand) -> InterfaceChoice:
    """Apply flanneld's rules to the interfaces and routes as they are now. Raises InterfaceError."""
    interfaces = interfaces_from_ip_json(read_ip(run_ip, "address", "show"))

    def look_up(address: Address) -> Optional[Tuple[int, Optional[Address]]]:
        # A failure is how ip says that there is no route.
        _status, output, _errors = run_ip(["route", "get", str(address)])
        return lookup_from_ip_json(output, interfaces)

    return choose_interface(
        InterfaceRequest(
            ifaces=tuple(params["iface"]),
            regexes=tuple(params["iface_regex"]),
            can_reach=params["iface_can_reach"],
            public_ip=params["public_ip"],
            public_ipv6=params["public_ipv6"],
        ),
        tuple(family for family in FAMILIES if family.name in params["families"]),
        interfaces,
        default_routes_from_ip_json(
            read_ip(run_ip, "-4", "route", "show", "table", "main"),
            read_ip(run_ip, "-6", "route", "show", "table", "main"),
            interfaces,
        ),
        look_up,
    )


def describe(choice: InterfaceChoice) -> Dict[str, Any]:
    """The return values of the module."""
    return {
        "changed": False,
        "interface": choice.interface.name,
        "index": choice.interface.index,
        "mtu": choice.interface.mtu,
        "ipv4": text_or_none(choice.ipv4),
        "ipv6": text_or_none(choice.ipv6),
        "public_ip": text_or_none(choice.public_ip),
        "public_ipv6": text_or_none(choice.public_ipv6),
        "reason": choice.reason,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "iface": {"type": "list", "elements": "str", "default": []},
            "iface_regex": {"type": "list", "elements": "str", "default": []},
            "iface_can_reach": {"type": "str", "default": ""},
            "public_ip": {"type": "str", "default": ""},
            "public_ipv6": {"type": "str", "default": ""},
            "families": {
                "type": "list",
                "elements": "str",
                "choices": ["ipv4", "ipv6"],
                "default": ["ipv4"],
            },
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: describe(choose(module.params, find_ip(module))))


if __name__ == "__main__":
    main()
