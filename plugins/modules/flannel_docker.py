#!/usr/bin/python
# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flannel_docker
short_description: Bring Docker's bridge in line with flannel's subnet
description:
  - Restarts Docker if, and only if, its running default bridge differs from C(/run/flannel/subnet.env) in address, MTU
    or masquerading.
  - A restart stops containers. While any are running it happens with O(restart=true) only; otherwise nothing is changed
    and RV(pending) says what is left to do.
  - Containers that were running are started again, whatever their restart policy, except those made with C(--rm).
  - A Docker that is not running, or not installed, is left alone. It reads C(subnet.env) when it starts.
  - With O(state=absent) Docker gets its own bridge back, once its unit takes flannel's options no longer.
extends_documentation_fragment:
  - weft.flannel._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
options:
  restart:
    description: Whether running containers may be stopped.
    type: bool
    default: false
  state:
    description: Whether Docker's bridge is to be the one from C(subnet.env), or Docker's own.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: weft.flannel.flannel_docker_info
author:
  - Weft contributors (@weft-net)
"""

EXAMPLES = r"""
- name: Bring Docker's bridge in line as soon as no container is in the way
  weft.flannel.flannel_docker:
  register: docker

- name: Bring it in line now
  weft.flannel.flannel_docker:
    restart: true

- name: Give Docker its own bridge back
  weft.flannel.flannel_docker:
    state: absent
"""

RETURN = r"""
pending:
  description: What is left to do, why it was not done, and what allows it. Empty if nothing.
  type: str
  returned: success
  sample: >-
    Docker must be restarted to take its bridge from subnet.env (mtu 1500 -> 1450); that stops 1 running container(s):
    web1; allow it with flannel_docker_restart: true
"""

from typing import Any, Dict, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.weft.flannel.plugins.module_utils._docker import (
    Bridge,
    DockerError,
    plan_restart,
    plan_return,
)
from ansible_collections.weft.flannel.plugins.module_utils._docker_host import (
    DockerState,
    read_docker,
    restart_docker,
    return_bridge,
)
from ansible_collections.weft.flannel.plugins.module_utils._errors import FlannelError


def render_bridge(bridge: Optional[Bridge]) -> str:
    """The bridge as one side of a diff."""
    if bridge is None:
        return ""
    return f"address: {bridge.address}\nmtu: {bridge.mtu}\nip_masq: {str(bridge.ip_masq).lower()}\n"


def refuse_unwired(state: DockerState) -> None:
    """Raise DockerError if a restart could not help, because flannel's options do not reach dockerd."""
    if state.conflicts:
        raise DockerError(
            "Docker",
            "its own settings exclude those from subnet.env",
            "; ".join(str(conflict) for conflict in state.conflicts),
        )
    if not state.wired:
        raise DockerError(
            "docker.service",
            "its command does not take flannel's options",
            "run `systemctl daemon-reload`; `systemctl cat docker` must end with the ExecStart= of zz-flannel.conf",
        )


def align_docker(module: AnsibleModule) -> Dict[str, Any]:
    """Restart Docker if that is needed and allowed. Raises DockerError."""
    state = read_docker(module)
    restart, pending = plan_restart(
        state.running, state.wanted, state.container_names, module.params["restart"]
    )
    if not restart:
        return {"changed": False, "pending": pending}
    refuse_unwired(state)
    diff = {
        "before": render_bridge(state.running),
        "after": render_bridge(state.wanted),
        "before_header": "docker0",
    }
    if not module.check_mode:
        restart_docker(module, state)
        left = read_docker(module).differences
        if left:
            raise DockerError(
                "Docker",
                f"its bridge still differs after a restart: {', '.join(left)}",
                "see: systemctl cat docker",
            )
    return {"changed": True, "pending": "", "diff": {**diff, "after_header": "docker0"}}


def release_docker(module: AnsibleModule) -> Dict[str, Any]:
    """Give Docker its own bridge back if that is needed and allowed. Raises DockerError."""
    state = read_docker(module)
    restart, pending = plan_return(state.from_subnet, state.container_names, module.params["restart"])
    if not restart:
        return {"changed": False, "pending": pending}
    if not module.check_mode:
        if state.wired:
            raise DockerError(
                "docker.service",
                "its command still takes flannel's options",
                "remove /etc/systemd/system-generators/flannel-docker and run `systemctl daemon-reload`",
            )
        return_bridge(module, state)
    return {
        "changed": True,
        "pending": "",
        "diff": {
            "before": render_bridge(state.running),
            "after": "Docker's own\n",
            "before_header": "docker0",
            "after_header": "docker0",
        },
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "restart": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        result = (align_docker if module.params["state"] == "present" else release_docker)(module)
    except FlannelError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
