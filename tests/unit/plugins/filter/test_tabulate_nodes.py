# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of weft.flannel.status: problems first, each with what to do."""

from __future__ import annotations

from typing import Any

from ansible_collections.weft.flannel.plugins.filter.tabulate_nodes import tabulate_nodes


def make_node(**changes: Any) -> dict[str, Any]:
    peers = [{"data_path": "ok"}, {"data_path": "network is unreachable"}]
    instance = {
        "instance": "default",
        "state": "ready",
        "problems": [],
        "pending": [],
        "drift": [],
        "version": "0.1.0",
        "backend": "vxlan",
        "mtu": 1450,
        "subnets": ["10.42.1.0/24"],
        "report": {"peers": peers},
    }
    return {"instances": [{**instance, **changes}]}


def test_problems_come_first_with_what_to_do() -> None:
    nodes = {
        "n1": make_node(),
        "n2": make_node(pending=["restart Docker: its bridge has 1500"]),
        "n3": make_node(
            state="stopped",
            problems=["flanneld.service is inactive; systemctl start flanneld.service"],
            report=None,
            subnets=[],
            backend="",
            version="",
        ),
        "n4": {},
        "n5": {"instances": []},
    }
    assert tabulate_nodes(nodes) == [
        "host  state        subnet        backend  mtu   peers  version",
        "n3    stopped                             1450",
        "    flanneld.service is inactive; systemctl start flanneld.service",
        "n4    unreachable",
        "    it could not be asked; ssh to it, or look at its console; containers there keep their connections while "
        "flanneld is away",
        "n5    absent",
        "    it has no flanneld; run weft.flannel.site on it, or take it out of the group",
        "n2    ready        10.42.1.0/24  vxlan    1450  1/2    0.1.0",
        "    pending: restart Docker: its bridge has 1500",
        "n1    ready        10.42.1.0/24  vxlan    1450  1/2    0.1.0",
    ]


def test_drift_and_other_instances_are_named() -> None:
    lines = tabulate_nodes({"n1": make_node(instance="blue", drift=["route: 1 of 2 wrong"])})
    assert lines[1].startswith("n1 (blue)  ready")
    assert lines[2] == "    drift: route: 1 of 2 wrong; flanneld repairs it, see flanneld check if it stays"


def test_a_cause_that_ansible_told_is_kept() -> None:
    lines = tabulate_nodes({"n1": {"unreachable": True, "msg": "Failed to connect:\nno route to host"}})
    assert "no route to host" in lines[2]
