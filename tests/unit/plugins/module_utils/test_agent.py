# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flanneld as seen from outside: which instances a host has, what state each is in, and what to do about it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, List, Optional, Tuple

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._agent import (
    Agent,
    InstanceError,
    Program,
    Unit,
    check_instance,
    describe_agent,
    find_instances,
    name_run_directory,
    name_state_directory,
    name_unit,
    read_program,
    read_subnet_env,
    read_unit,
)
from flanneld.instance import Instance

LOADED = Unit("flanneld.service", "loaded", "active", "running", "enabled", 0, 0)
TABLES = [
    {"name": "link", "wanted": 1, "wrong": 0, "problems": 0, "repairs": 3},
    {"name": "route", "wanted": 5, "wrong": 2, "problems": 1, "repairs": 0},
]
REPORT = {
    "ready": True,
    "phase": "serving",
    "not_ready": [],
    "pending": [],
    "tables": TABLES,
    "waiting_for": "",
}


def make_agent(
    report: Optional[dict[str, Any]] = None, unit: Unit = LOADED, silence: str = "", outdated: bool = False
) -> Agent:
    return Agent("default", unit, report, silence, {"FLANNEL_MTU": "1450"}, outdated)


@pytest.mark.parametrize("name", ["default", "blue"])
def test_names_are_those_of_the_agent(name: str) -> None:
    instance = Instance(name)
    assert name_unit(name) == instance.unit
    assert name_run_directory(name) == instance.run_dir
    assert name_state_directory(name) == instance.state_dir


def test_instances_are_found_by_settings_and_by_what_they_left(tmp_path: Path) -> None:
    for name in ("etc/flanneld/flanneld.env", "etc/flanneld/green.env", "etc/flanneld/x.conf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("var/lib/flanneld", "var/lib/flanneld-blue", "run/flannel-red", "run/flannel-NOT"):
        (tmp_path / name).mkdir(parents=True)
    assert find_instances(tmp_path) == ("default", "blue", "green", "red")
    assert find_instances(tmp_path / "nowhere") == ()


@pytest.mark.parametrize("name", ["Blue", "flanneld", "", "a/b", "thirteenchars"])
def test_a_name_that_no_instance_can_have_is_refused(name: str) -> None:
    with pytest.raises(InstanceError, match="12 lower-case letters"):
        check_instance(name)


def test_the_program_and_what_it_could_go_back_to(tmp_path: Path) -> None:
    assert read_program(tmp_path) == Program()
    for age, name in enumerate(("flanneld-0.2.0-0a.pyz", "flanneld-0.1.0-0b.pyz", "flanneld-0.1.1-0c.pyz")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "flanneld-0.1.0-0b.pyzc").touch()
    (tmp_path / "flanneld.pyz").symlink_to("flanneld-0.1.0-0b.pyz")
    program = read_program(tmp_path)
    assert (program.archive, program.version) == ("flanneld-0.1.0-0b.pyz", "0.1.0")
    assert program.former == ("flanneld-0.2.0-0a.pyz", "flanneld-0.1.1-0c.pyz")
    assert program.changed_at > 0


@pytest.mark.parametrize(
    ("agent", "state", "problem"),
    [
        (make_agent(REPORT), "ready", ""),
        (
            make_agent({**REPORT, "ready": False, "not_ready": ["no lease; wait"]}),
            "not_ready",
            "no lease; wait",
        ),
        (
            make_agent({**REPORT, "ready": False, "phase": "starting", "waiting_for": "etcd"}),
            "starting",
            "it waits: etcd",
        ),
        (make_agent(silence="it hangs; restart it"), "silent", "it hangs; restart it"),
        (
            make_agent(unit=Unit("flanneld.service", "loaded", "inactive", "dead", "enabled", 0, 0)),
            "stopped",
            "systemctl start flanneld.service",
        ),
        (
            make_agent(
                unit=Unit("flanneld.service", "loaded", "activating", "auto-restart", "enabled", 3, 9)
            ),
            "stopped",
            "last exit code 3",
        ),
        (
            make_agent(unit=Unit("flanneld.service", "not-found", "inactive", "dead", "", 0, 0)),
            "absent",
            "weft.flannel.site",
        ),
    ],
)
def test_each_state_says_what_to_do(agent: Agent, state: str, problem: str) -> None:
    assert agent.state == state
    assert problem in " ".join(agent.problems)
    assert bool(agent.problems) == (state != "ready")


def test_drift_and_pending_steps() -> None:
    agent = make_agent({**REPORT, "pending": ["restart Docker"]}, outdated=True)
    assert agent.drift == ("route: 2 of 5 wrong, 1 refused by the kernel",)
    assert agent.pending[0] == "restart Docker"
    assert "systemctl restart flanneld.service" in agent.pending[1]


def test_what_is_known_without_an_answer() -> None:
    described = describe_agent(make_agent())
    assert described["report"] is None
    assert described["mtu"] == 1450
    assert (described["version"], described["subnets"], described["drift"]) == ("", [], [])


def test_a_host_without_systemd(tmp_path: Path) -> None:
    class Host:
        def run_command(self, args: List[str], *, check_rc: bool = False) -> Tuple[int, str, str]:
            raise FileNotFoundError(args[0])

    assert read_unit(Host(), "flanneld.service").load == "not-found"
    assert read_subnet_env(tmp_path / "subnet.env") == {}
