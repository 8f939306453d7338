# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_reservation and flannel_lease without Ansible, which the interpreter of the namespace tests does not have.

python -m tests.support.lease_modules MODULE ENDPOINT OPTION=VALUE...
"""

from __future__ import annotations

import sys

from ansible_collections.weft.flannel.plugins.module_utils._holders import Holders
from ansible_collections.weft.flannel.plugins.module_utils._lease import Layout
from ansible_collections.weft.flannel.plugins.module_utils._lease_change import Namer, Plan, apply_steps
from ansible_collections.weft.flannel.plugins.module_utils._lease_request import REQUEST_SPEC, read_request
from ansible_collections.weft.flannel.plugins.module_utils._reservation import (
    plan_absent,
    plan_lease_state,
    plan_present,
)
from ansible_collections.weft.flannel.plugins.module_utils._store import StoreOptions, open_store


def main(module: str, endpoint: str, *options: str) -> None:
    given = dict(option.split("=", 1) for option in options)
    state = given.pop("state")
    request, layout = (
        read_request({**dict.fromkeys(REQUEST_SPEC), **given}),
        Layout.from_prefix("/coreos.com/network"),
    )

    def make_plan(holders: Holders, name: Namer) -> Plan:
        if module == "flannel_lease":
            return plan_lease_state(holders, layout, request, state, name)
        if state == "absent":
            return plan_absent(holders, request, name)
        return plan_present(holders, layout, request, name)

    apply_steps(open_store(StoreOptions((endpoint,))), layout, make_plan, lambda plan: True)


if __name__ == "__main__":
    main(*sys.argv[1:])
