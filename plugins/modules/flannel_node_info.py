#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_node_info
short_description: Tell how flanneld is on a host
description:
  - Asks every flanneld on the host how it is, and looks at its unit, its C(subnet.env) and the installed program. Needs
    root, because flanneld answers nobody else.
  - Needs neither etcd nor flanneld on the host. Where there is none, RV(installed) and RV(ready) are V(false), and
    RV(instances) is empty.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.info_module
attributes:
  platform:
    support: full
options:
  instance:
    description:
      - Which network of the host to tell about, whether the host is in it or not.
      - Without it, all that the host has settings or state of.
    type: str
seealso:
  - module: weft.flannel.flannel_docker_info
  - module: weft.flannel.flannel_network_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Ask all instances
  weft.flannel.flannel_node_info:
  register: node

- name: Insist that the host is ready
  ansible.builtin.assert:
    that: node.ready
    fail_msg: "{{ node.instances | map(attribute='problems') | flatten | join(' ') }}"

- name: What somebody still has to do here
  ansible.builtin.debug:
    msg: "{{ node.instances | map(attribute='pending') | flatten }}"
"""

RETURN = r"""
installed:
  description: Whether the role P(weft.flannel.flannel#role) has put a program on the host.
  type: bool
  returned: success
ready:
  description: Whether there is an instance, and all of those in RV(instances) are ready.
  type: bool
  returned: success
outdated:
  description: Whether any instance was started before the program that is installed now.
  type: bool
  returned: success
program:
  description: The programs on the host.
  type: dict
  returned: success
  contains:
    archive:
      description: The one that is started, empty if there is none.
      type: str
      sample: flanneld-0.1.0-4070429fe740.pyz
    version:
      description: Its version.
      type: str
      sample: 0.1.0
    former:
      description: Those that the host could go back to, newest first.
      type: list
      elements: str
instances:
  description: How each is.
  type: list
  elements: dict
  returned: success
  contains:
    instance:
      description: Its name.
      type: str
      sample: default
    state:
      description:
        - V(ready), V(not_ready), V(starting), V(silent) if it runs and does not answer, V(stopped), or V(absent).
      type: str
      sample: ready
    ready:
      description: Whether what C(subnet.env) promises holds.
      type: bool
    problems:
      description: Why it is not ready, each with the next step; empty if it is.
      type: list
      elements: str
    pending:
      description: What somebody has to do for a change to take effect, such as restarting Docker.
      type: list
      elements: str
    drift:
      description: The kinds of objects of which some are not as they should be right now.
      type: list
      elements: str
      sample: ["route: 2 of 5 wrong"]
    version:
      description: The version that runs, empty if it does not answer.
      type: str
      sample: 0.1.0
    outdated:
      description: Whether it was started before the program that is installed now.
      type: bool
    backend:
      description: The backend that it uses, empty if it does not answer.
      type: str
      sample: vxlan
    mtu:
      description: How many bytes the packet of a container may have; V(0) if that is not known.
      type: int
      sample: 1450
    subnets:
      description: The subnets that it holds.
      type: list
      elements: str
      sample: [10.42.26.0/24]
    subnet_env:
      description: The variables of C(subnet.env).
      type: dict
      sample: {"FLANNEL_SUBNET": "10.42.26.1/24", "FLANNEL_MTU": "1450"}
    unit:
      description:
        - What systemd says about its unit. C(exit_code) is of its last process.
      type: dict
      sample:
        name: flanneld.service
        load: loaded
        active: active
        sub: running
        enabled: enabled
        exit_code: 0
        restarts: 0
    report:
      description: Its answer as C(flanneld status --json) shows it; V(null) if it does not answer.
      type: dict
"""

from typing import Any, Dict, Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._agent import (
    check_instance,
    describe_agent,
    find_instances,
    read_agent,
    read_program,
)
from ansible_collections.weft.flannel.plugins.module_utils._connection import run_module
from ansible_collections.weft.flannel.plugins.module_utils._docker_host import CommandRunner


def describe_node(host: CommandRunner, names: Sequence[str]) -> Dict[str, Any]:
    """The return values of the module for these instances."""
    program = read_program()
    instances = [describe_agent(read_agent(host, name, program)) for name in names]
    return {
        "changed": False,
        "installed": bool(program.archive),
        "ready": bool(instances) and all(one["ready"] for one in instances),
        "outdated": any(one["outdated"] for one in instances),
        "program": {
            "archive": program.archive,
            "version": program.version,
            "former": list(program.former),
        },
        "instances": instances,
    }


def main() -> None:
    module = AnsibleModule(argument_spec={"instance": {"type": "str"}}, supports_check_mode=True)
    name = module.params["instance"]
    run_module(
        module, lambda: describe_node(module, find_instances() if name is None else (check_instance(name),))
    )


if __name__ == "__main__":
    main()
