# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that people copy: they name variables, playbooks and versions that exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
USER_DATA = (ROOT / "examples" / "cloud-init.yml").read_text(encoding="utf-8")


def test_cloud_init_knows_what_it_is() -> None:
    assert USER_DATA.startswith("#cloud-config\n")


def test_user_data_runs_this_collection_with_its_variables() -> None:
    data = yaml.safe_load(USER_DATA)
    (inventory,) = data["write_files"]
    group: dict[str, Any] = yaml.safe_load(inventory["content"])["flannel"]
    defaults = yaml.safe_load((ROOT / "roles/flannel/defaults/main.yml").read_text(encoding="utf-8"))
    assert group["vars"].keys() <= defaults.keys()
    play = data["runcmd"][-1]
    assert f"--inventory={inventory['path']}" in play
    assert (ROOT / "playbooks" / f"{play[-1].removeprefix('weft.flannel.')}.yml").exists()


def test_user_data_installs_a_supported_core() -> None:
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))
    lowest = runtime["requires_ansible"].partition(",")[0].removesuffix(".0")
    assert f'"ansible-core{lowest},' in USER_DATA
