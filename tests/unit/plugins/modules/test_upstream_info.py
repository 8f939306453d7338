# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which unit is another flanneld's, by what systemctl show of systemd 252 says. Real units: molecule/site-migrate."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._upstream_host import (
    Unit,
    describe_upstream,
    find_units,
)

EXEC = "ExecStart={{ path={0} ; argv[]={0} {1} ; ignore_errors=no ; start_time=[n/a] ; pid=0 }}"
OURS = ("/bin/sh", "/usr/lib/flanneld/flanneld $FLANNEL_OPTIONS")
PACKAGED = "/lib/systemd/system/flanneld.service"
PLACE = "/etc/systemd/system/flanneld.service"


def show(
    name: str,
    command: tuple[str, str] = ("/usr/bin/flanneld", "--ip-masq"),
    *,
    path: str = PACKAGED,
    active: str = "inactive",
    enabled: str = "disabled",
    bound: str = "",
    drop_ins: str = "",
) -> str:
    lines = [
        "MainPID=0", EXEC.format(*command), f"Id={name}", f"BoundBy={bound}", "LoadState=loaded",
        f"ActiveState={active}", f"FragmentPath={path}", f"DropInPaths={drop_ins}", f"UnitFileState={enabled}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


NOT_FOUND = "MainPID=0\nId=flannel.service\nLoadState=not-found\nActiveState=inactive\n"


class Systemd:
    """Answers as systemctl does."""

    def __init__(self, *blocks: str) -> None:
        self._answer = "\n".join(blocks)

    def run_command(self, args: list[str], *, check_rc: bool = False) -> tuple[int, str, str]:
        return 0, self._answer, ""


def test_ours_and_others_programs_are_none() -> None:
    docker = show("docker.service", ("/usr/sbin/dockerd", "-H fd://"), active="active", enabled="enabled")
    ours = show("flanneld.service", OURS, path=PLACE, active="active", enabled="enabled")
    assert find_units(Systemd(ours, NOT_FOUND, docker, ours)) == ()


def test_a_unit_is_found_by_its_name_and_by_its_program() -> None:
    by_name = show("flannel.service", ("/usr/lib/coreos/flannel-wrapper", "$FLANNEL_OPTS"), enabled="enabled")
    by_program = show("overlay.service", ("/opt/bin/flanneld", ""), active="active", path="/x")
    units = find_units(Systemd(by_name, by_program))
    # the one that runs comes first
    assert [unit.name for unit in units] == ["overlay.service", "flannel.service"]
    assert units[0] == Unit("overlay.service", "/x", (), True, False, 0, ())


@pytest.mark.parametrize(
    ("block", "found"),
    [
        (show("flanneld.service"), False),
        (show("flanneld.service", enabled="enabled"), True),
        (show("flanneld.service", active="activating"), True),
        # ours would be written over it
        (show("flanneld.service", path=PLACE), True),
    ],
)
def test_what_neither_runs_nor_will_is_not_in_the_way(block: str, found: bool) -> None:
    assert describe_upstream(Systemd(block))["found"] is found


def test_the_settings_of_one_that_does_not_run_are_those_of_its_files(tmp_path: Path) -> None:
    unit, drop_in = tmp_path / "flannel.service", tmp_path / "more.conf"
    unit.write_text("[Service]\nExecStart=/usr/bin/flanneld --iface=${NIC} --etcd-password=topsecret\n")
    drop_in.write_text("[Service]\nEnvironment=NIC=eth1\n")
    block = show("flannel.service", path=str(unit), drop_ins=str(drop_in), enabled="enabled")
    result = describe_upstream(Systemd(block))
    assert result["unit"]["drop_ins"] == [str(drop_in)]
    assert result["variables"]["flannel_iface"] == ["eth1"]
    assert result["problems"] == []
    assert "topsecret" not in repr(result)


def test_what_stands_in_the_way_is_told_with_the_next_step() -> None:
    first = show(
        "flanneld.service",
        active="active",
        enabled="enabled",
        bound="docker.service",
        drop_ins=f"{PACKAGED}.d/a.conf {PLACE}.d/b.conf",
    )
    messages = [
        problem["message"]
        for problem in describe_upstream(Systemd(first, show("other.service", active="active")))["problems"]
    ]
    for part in ("systemctl disable --now other.service", "make that Wants= first", f"{PACKAGED}.d/a.conf"):
        assert any(part in message for message in messages)
    assert not any("b.conf" in message for message in messages)
