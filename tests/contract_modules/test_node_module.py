# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flannel_node_info, on a host that never had this instance."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract_modules.conftest import Host

# Nothing on the machine that runs the tests has this name.
NOBODY = "nobodyhasit"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("mode", [(), ("--check",)])
def test_a_host_without_flanneld_is_told_clearly(host: Host, mode: tuple[str, ...]) -> None:
    outcome = host.run("flannel_node_info", {"instance": NOBODY}, *mode)
    result = outcome.result
    (instance,) = result["instances"]
    assert (result["changed"], result["ready"]) == (False, False)
    assert (instance["state"], instance["report"]) == ("absent", None)
    assert instance["problems"] == [
        f"flanneld@{NOBODY}.service is not installed; run weft.flannel.site on this host"
    ]


def test_a_name_that_cannot_be_is_refused(host: Host) -> None:
    outcome = host.run("flannel_node_info", {"instance": "../etc"})
    assert outcome.result["error"] == "InstanceError"
    assert "'../etc'" in outcome.result["msg"]
    assert outcome.result["next_step"]
