#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_probe
short_description: Stand a temporary container on a host that measures the ways to others
description:
  - Puts a network namespace behind the container bridge, as Docker puts a container there, with an address from the
    top of the host's subnet that nobody else has. It answers the probes of other hosts, and asks them when
    M(weft.flannel.flannel_probe_info) tells it to.
  - The container bridge is the one that has the first address of the subnet. In a family where there is none, the probe
    gets an address with a route of its own.
  - The probe goes by itself after O(lifetime), and everything with it. It also does when its process is killed, or when
    the host is restarted. Nothing is written to the disk, and no rule is made.
  - Needs nothing on the host but Python and the command C(ip).
extends_documentation_fragment:
  - weft.flannel._attributes
attributes:
  check_mode:
    support: full
    details: The addresses it returns then are the first that would be tried.
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
options:
  state:
    description: Whether the probe is to stand.
    type: str
    choices: [present, absent]
    default: present
  subnet_file:
    description: The C(subnet.env) of the network. There may be one probe for each.
    type: path
    default: /run/flannel/subnet.env
  lifetime:
    description: Seconds from now after which the probe goes by itself, also one that stands already.
    type: int
    default: 900
requirements:
  - The command C(ip) of iproute2 5.10 or later, on the host where the module runs.
  - Root.
seealso:
  - module: weft.flannel.flannel_probe_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Stand a temporary container on every host
  weft.flannel.flannel_probe:
  register: probe

- name: Measure the way to the one of n2
  weft.flannel.flannel_probe_info:
    peers:
      - name: n2
        id: "{{ hostvars['n2'].probe.id }}"
        ipv4: "{{ hostvars['n2'].probe.ipv4 }}"
  register: asked

- name: Remove it, and see what has come from the others
  weft.flannel.flannel_probe:
    state: absent
  register: removed
"""

RETURN = r"""
id:
  description: >-
    What the probe calls itself in its packets; new for each. V(null) in check mode, unless it stands already.
  type: str
  returned: with O(state=present)
  sample: 3f2a9c0d3f2a9c0d3f2a9c0d3f2a9c0d
ipv4:
  description: Where it stands in IPv4, V(null) if the host has no IPv4 subnet.
  type: dict
  returned: with O(state=present)
  contains:
    address:
      description: Its address.
      type: str
      sample: 10.42.5.254
    mtu:
      description: The largest packet that it can send, in bytes.
      type: int
      sample: 1450
    bridge:
      description: The bridge that it stands behind, V(null) if it has a route of its own.
      type: str
      sample: docker0
ipv6:
  description: The same for IPv6.
  type: dict
  returned: with O(state=present)
heard:
  description: What the probe has received from others, V(null) if there was none.
  type: list
  elements: dict
  returned: with O(state=absent)
  contains:
    id:
      description: The RV(id) of the other.
      type: str
    family:
      description: V(ipv4) or V(ipv6).
      type: str
    packets:
      description: How many packets came.
      type: int
    largest:
      description: The size of the largest, in bytes.
      type: int
      sample: 1450
    seen_as:
      description: The addresses they came from. It is one, that of the other probe, unless somebody masquerades.
      type: list
      elements: str
error:
  description: The kind of failure.
  type: str
  returned: failure
  sample: ProbeError
subject:
  description: What the failure is about.
  type: str
  returned: failure
  sample: /run/flannel/subnet.env
cause:
  description: What is wrong with it.
  type: str
  returned: failure
  sample: No such file or directory
next_step:
  description: What to do about it.
  type: str
  returned: failure
  sample: start flanneld; it writes the file when it has a subnet
"""

from typing import Any, Dict, Mapping, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import run_module
from ansible_collections.weft.flannel.plugins.module_utils._probe import Place, ProbeError
from ansible_collections.weft.flannel.plugins.module_utils._probe_process import (
    Standing,
    find_probe,
    plan_probe,
    read_subnet_file,
    renew_probe,
    start_probe,
    stop_probe,
)
from ansible_collections.weft.flannel.plugins.module_utils._subnet import FAMILIES


def apply_state(params: Mapping[str, Any], check_mode: bool) -> Dict[str, Any]:
    """Make it so, unless in check mode; the return values. Raises ProbeError."""
    path, wanted = params["subnet_file"], params["state"] == "present"
    if params["lifetime"] < 1:
        raise ProbeError(
            "option lifetime", f"{params['lifetime']} is no time to live", "give it seconds, such as 900"
        )
    standing = find_probe(path)
    changed = wanted != (standing is not None)
    result: Dict[str, Any] = {
        "changed": changed,
        "diff": [{"before": describe_state(standing is not None), "after": describe_state(wanted)}],
    }
    if not wanted:
        return {**result, "heard": stop_probe(path) if changed and not check_mode else None}
    if standing is None:
        subnets = read_subnet_file(path)
        standing = plan_probe(subnets)
        if not check_mode:
            standing = start_probe(path, subnets, params["lifetime"])
    elif not check_mode:
        renew_probe(path, params["lifetime"])
    return {**result, "id": standing.id or None, **describe_places(standing)}


def describe_state(stands: bool) -> str:
    """One side of the diff."""
    return f"probe {'present' if stands else 'absent'}\n"


def describe_places(standing: Standing) -> Dict[str, Optional[Dict[str, Any]]]:
    """The return values `ipv4` and `ipv6`."""
    places: Dict[int, Place] = {place.address.version: place for place in standing.places}
    return {
        family.name: describe_place(places[family.version]) if family.version in places else None
        for family in FAMILIES
    }


def describe_place(place: Place) -> Dict[str, Any]:
    """One of them."""
    return {"address": str(place.address), "mtu": place.mtu, "bridge": place.bridge}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "subnet_file": {"type": "path", "default": "/run/flannel/subnet.env"},
            "lifetime": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: apply_state(module.params, module.check_mode))


if __name__ == "__main__":
    main()
