#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_probe_info
short_description: Measure the ways from a host's container subnet to others
description:
  - Has the probe that M(weft.flannel.flannel_probe) stood on this host ask those on other hosts, all of them at the
    same time, whether they answer, whom they see, how large a packet may be that nobody may fragment, and, one after
    the other, how long it takes.
  - A peer that does not answer is no failure but an answer. It is then asked once more from the host itself, whose
    packets are neither forwarded nor masqueraded there.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.info_module
attributes:
  platform:
    support: full
options:
  peers:
    description: The probes to ask, as M(weft.flannel.flannel_probe) returned them on their hosts.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What the answer calls it.
        type: str
        required: true
      id:
        description: Its id.
        type: str
        required: true
      ipv4:
        description: Where it stands in IPv4.
        type: dict
        suboptions:
          address:
            description: Its address.
            type: str
            required: true
          mtu:
            description: The largest packet that it can send, in bytes.
            type: int
            required: true
          bridge:
            description: Not used here.
            type: str
      ipv6:
        description: Where it stands in IPv6.
        type: dict
        suboptions:
          address:
            description: Its address.
            type: str
            required: true
          mtu:
            description: The largest packet that it can send, in bytes.
            type: int
            required: true
          bridge:
            description: Not used here.
            type: str
  subnet_file:
    description: The C(subnet.env) of the network.
    type: path
    default: /run/flannel/subnet.env
  timeout:
    description: Seconds that one answer may take.
    type: float
    default: 1
  tries:
    description: How often a question is sent before it counts as not answered.
    type: int
    default: 3
requirements:
  - Root.
seealso:
  - module: weft.flannel.flannel_probe
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Measure the way to n2, where flannel_probe registered its result as probe
  weft.flannel.flannel_probe_info:
    peers:
      - name: n2
        id: "{{ hostvars['n2'].probe.id }}"
        ipv4: "{{ hostvars['n2'].probe.ipv4 }}"
        ipv6: "{{ hostvars['n2'].probe.ipv6 | default(omit, true) }}"
  register: asked

- name: Name those that do not answer
  ansible.builtin.debug:
    msg: "{{ asked.answers | rejectattr('reached') | map(attribute='peer') }}"
"""

RETURN = r"""
answers:
  description: One for each peer and each family it has.
  type: list
  elements: dict
  returned: success
  contains:
    peer:
      description: Its name.
      type: str
      sample: n2
    family:
      description: V(ipv4) or V(ipv6).
      type: str
      sample: ipv4
    reached:
      description: Whether an answer came.
      type: bool
    answered_by:
      description: The id of who answered.
      type: str
    seen_as:
      description: The address that the peer saw. Another than that of this probe means that somebody masquerades.
      type: str
      sample: 10.42.5.254
    round_trip_ms:
      description: The shortest of a few round trips, in milliseconds.
      type: float
      sample: 0.214
    mtu:
      description: >-
        The largest packet that arrived there unfragmented, in bytes, at most RV(answers[].mtu_wanted). V(null) if not
        even the smallest did that every host has to take.
      type: int
      sample: 1450
    mtu_wanted:
      description: The largest that both ends may send.
      type: int
      sample: 1450
    host_reached:
      description: Whether the host itself got an answer, where its probe did not. Else V(null).
      type: bool
    error:
      description: What the kernel said about packets that were not answered, V(null) if nothing.
      type: str
      sample: Connection refused
error:
  description: The kind of failure.
  type: str
  returned: failure
  sample: ProbeError
subject:
  description: What the failure is about.
  type: str
  returned: failure
  sample: probe
cause:
  description: What is wrong with it.
  type: str
  returned: failure
  sample: none stands on this host, or its lifetime is over
next_step:
  description: What to do about it.
  type: str
  returned: failure
  sample: stand one with weft.flannel.flannel_probe
"""

from typing import Any, Dict, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._connection import run_module
from ansible_collections.weft.flannel.plugins.module_utils._probe import ProbeError, read_peers
from ansible_collections.weft.flannel.plugins.module_utils._probe_process import ask_probe

PLACE: Mapping[str, Any] = {
    "type": "dict",
    "options": {
        "address": {"type": "str", "required": True},
        "mtu": {"type": "int", "required": True},
        "bridge": {"type": "str"},
    },
}


def ask_peers(params: Mapping[str, Any]) -> Dict[str, Any]:
    """The return values. Raises ProbeError."""
    for name, least in (("timeout", 0.01), ("tries", 1)):
        if params[name] < least:
            raise ProbeError(f"option {name}", f"{params[name]} is too little", f"give it at least {least}")
    try:
        read_peers(params["peers"])
    except ValueError as error:
        raise ProbeError(
            "option peers", str(error), "give what weft.flannel.flannel_probe returned on that host"
        ) from error
    question = {key: params[key] for key in ("peers", "timeout", "tries")}
    return {"changed": False, "answers": ask_probe(params["subnet_file"], question)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "peers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "id": {"type": "str", "required": True},
                    "ipv4": PLACE,
                    "ipv6": PLACE,
                },
            },
            "subnet_file": {"type": "path", "default": "/run/flannel/subnet.env"},
            "timeout": {"type": "float", "default": 1},
            "tries": {"type": "int", "default": 3},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: ask_peers(module.params))


if __name__ == "__main__":
    main()
