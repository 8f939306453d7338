# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What weft.flannel.migrate goes from, on the first run and on one after an abort, and what it takes over."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Optional

import pytest
import yaml

from tests.support.rendering import evaluate

TASKS = Path(__file__).resolve().parents[3] / "roles/flannel/tasks"
DROP_INS = "/run/systemd/system/{{ __flannel_from.unit.name }}.d"
VARIABLES = {
    "flannel_etcd_endpoints": ["http://192.0.2.9:2379"],
    "flannel_iface": ["eth1"],
    "flannel_ip_masq": True,
}
UNIT = {
    "name": "flannel.service",
    "path": "/etc/systemd/system/flannel.service",
    "drop_ins": [],
    "active": True,
}


def find(enabled: Optional[bool], former: Any = None) -> dict[str, Any]:
    """What flannel_upstream_info returns. enabled: None where it finds nothing."""
    if enabled is None:
        return {"found": False, "former": former, "variables": {}, "problems": [], "notes": []}
    unit = {**UNIT, "enabled": enabled}
    return {
        "found": True,
        "former": former,
        "unit": unit,
        "variables": VARIABLES,
        "problems": [],
        "notes": ["n"],
    }


FORMER = {"unit": {**UNIT, "name": "old.service", "enabled": True}, "variables": {}, "notes": []}


@pytest.mark.parametrize(
    ("found", "ready", "goes_from", "is_to_migrate"),
    [
        (find(True), False, "flannel.service", True),
        # a stale record of an earlier migration, from which somebody went back
        (find(True, FORMER), False, "flannel.service", True),
        # aborted: disabled already, and still running
        (find(False, FORMER), False, "old.service", True),
        # aborted later
        (find(None, FORMER), False, "old.service", True),
        (find(None, FORMER), True, "old.service", False),
        (find(False), False, "flannel.service", True),
    ],
)
def test_a_rerun_goes_from_what_was_written_down(
    found: dict[str, Any], ready: bool, goes_from: str, is_to_migrate: bool
) -> None:
    variables = {"__flannel_upstream": found, "__flannel_node_before": {"ready": ready}}
    where, whether = evaluate("flannel", variables, "__flannel_from", "__flannel_is_to_migrate")
    assert (where["unit"]["name"], whether) == (goes_from, is_to_migrate)


def test_a_rerun_takes_away_what_held_the_other_one_up_when_a_run_was_aborted() -> None:
    attempt = yaml.safe_load((TASKS / "migrate_try.yml").read_text(encoding="utf-8"))[0]["block"]
    end, removal, start = (
        next(number for number, task in enumerate(attempt) if sought(task))
        for sought in (
            lambda task: task.get("ansible.builtin.include_tasks") == "migrate_end.yml",
            lambda task: task.get("ansible.builtin.file", {}).get("state") == "absent",
            lambda task: task.get("ansible.builtin.include_tasks") == "start.yml",
        )
    )
    assert end < removal < start
    assert "when" in attempt[end], "it has nothing to do where the other one has ended already"
    assert "when" not in attempt[removal]
    assert attempt[removal]["ansible.builtin.file"]["path"] == DROP_INS


@pytest.mark.parametrize(
    ("expired", "left_out"), [([], []), (["10.42.1.0-24"], []), ([], [{"key": "x", "reason": "y"}])]
)
def test_what_an_export_has_too_much_is_told(expired: list[Any], left_out: list[Any]) -> None:
    (block,) = (
        task
        for task in yaml.safe_load((TASKS / "migrate_import.yml").read_text(encoding="utf-8"))
        if "block" in task
    )
    (told,) = (task for task in block["block"] if task["name"] == "Say what was left out")
    variables = {"__flannel_imported": {"expired": expired, "left_out": left_out}}
    # Ansible takes nothing but a boolean.
    assert evaluate("flannel", variables, told["when"]) == [bool(expired or left_out)]


def test_a_host_without_another_flanneld_is_left_alone() -> None:
    variables = {"__flannel_upstream": find(None), "__flannel_node_before": {"ready": True}}
    assert evaluate("flannel", variables, "__flannel_from", "__flannel_is_to_migrate") == [{}, False]


def test_what_the_inventory_says_is_not_taken_over() -> None:
    (taken,) = evaluate(
        "flannel", {"__flannel_upstream": find(True), "flannel_iface": "eth7"}, "__flannel_takeable"
    )
    # the host of the test is in the group etcd, which names the endpoints
    assert taken == {"flannel_ip_masq": True}


ENV = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"


@pytest.mark.parametrize(
    ("env", "public_ip", "subnet", "same"),
    [
        (ENV, "192.0.2.1", "10.5.34.0/24", True),
        (ENV, "192.0.2.1", "10.5.35.0/24", False),
        (ENV, "192.0.2.2", "10.5.34.0/24", False),
        (None, "192.0.2.2", "10.5.34.0/24", True),
    ],
)
def test_the_lease_has_to_be_the_one_in_use(
    env: Optional[str], public_ip: str, subnet: str, same: bool
) -> None:
    variables = {
        "flannel_network": "10.5.0.0/16",
        "__flannel_subnet_env": {} if env is None else {"content": base64.b64encode(env.encode()).decode()},
        "__flannel_interface": {"public_ip": "192.0.2.1", "public_ipv6": None},
        "__flannel_network": {"leases": [{"public_ip": public_ip, "subnet": subnet}]},
    }
    assert evaluate("flannel", variables, "__flannel_same_lease") == [same]


def test_the_operator_is_shown_what_happens() -> None:
    variables = {
        "__flannel_upstream": find(True),
        "__flannel_taken_over": {"flannel_iface": ["eth1"]},
        "__flannel_subnet_env": {"content": base64.b64encode(ENV.encode()).decode()},
        "__flannel_interface": {"public_ip": "192.0.2.1", "public_ipv6": None},
    }
    assert evaluate("flannel", variables, "__flannel_migration") == [
        [
            "flannel.service (/etc/systemd/system/flannel.service) -> flanneld of weft.flannel",
            "stays: 10.5.34.1/24, published as 192.0.2.1",
            'takes over: flannel_iface: ["eth1"]',
            "n",
        ]
    ]


def test_only_probes_that_stand_are_asked() -> None:
    probe = {"id": "x", "ipv4": {"address": "10.5.34.254"}, "ipv6": None}
    variables = {"__flannel_probe": probe, "ansible_play_hosts_all": ["n0", "n1"]}
    assert evaluate("flannel", {**variables, "inventory_hostname": "n0"}, "__flannel_probes_of_others")[
        0
    ] in (
        [{"name": "n1", **probe}],
        [],
    )
