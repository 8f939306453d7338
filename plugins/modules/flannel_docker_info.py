#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_docker_info
short_description: Tell how Docker on a host stands to flannel's subnet
description:
  - Compares Docker's running default bridge with C(/run/flannel/subnet.env), and looks for settings of the operator's
    that exclude flannel's.
  - Needs neither Docker nor flanneld on the host. A Docker that is not running is left alone, also where a socket would
    start it.
extends_documentation_fragment:
  - weft.flannel._attributes
  - weft.flannel._attributes.info_module
attributes:
  platform:
    support: full
seealso:
  - module: weft.flannel.flannel_docker
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Compare Docker's bridge with subnet.env
  weft.flannel.flannel_docker_info:
  register: docker

- name: Say it
  ansible.builtin.debug:
    msg: "{{ docker.differences | default(['as it should be'], true) | join(', ') }}"
"""

RETURN = r"""
installed:
  description: Whether the host has a C(docker.service).
  type: bool
  returned: success
active:
  description: Whether it is running.
  type: bool
  returned: success
wired:
  description: Whether the command of C(docker.service) takes the options that flannel makes from C(subnet.env).
  type: bool
  returned: success
conflicts:
  description: The lines that set what flannel sets, each with what to remove.
  type: list
  elements: str
  returned: success
  sample: ["/etc/docker/daemon.json:3: remove 'mtu' from: \"mtu\": 1400,"]
differences:
  description: What a restart of Docker would change about the bridge; empty if nothing, or if it is not running.
  type: list
  elements: str
  returned: success
  sample: ["mtu 1500 -> 1450"]
containers:
  description: The names of the running containers.
  type: list
  elements: str
  returned: success
  sample: [web1]
live_restore:
  description: Whether containers outlive dockerd, which keeps its bridge from changing as long as they run.
  type: bool
  returned: success
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._docker_host import DockerState, read_docker
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError


def describe_docker(state: DockerState) -> Dict[str, Any]:
    """The return values for what was found."""
    return {
        "installed": state.installed,
        "active": state.active,
        "wired": state.wired,
        "conflicts": [str(conflict) for conflict in state.conflicts],
        "differences": list(state.differences),
        "containers": list(state.container_names),
        "live_restore": state.live_restore,
    }


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        state = read_docker(module)
    except FlannelError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **describe_docker(state))


if __name__ == "__main__":
    main()
