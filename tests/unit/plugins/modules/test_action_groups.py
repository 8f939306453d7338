# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module that takes the connection to etcd is in the action group, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Set

import yaml

ROOT = Path(__file__).resolve().parents[4]


def find_modules(fragment: str) -> Set[str]:
    return {
        path.stem
        for path in (ROOT / "plugins" / "modules").glob("*.py")
        if f"- {fragment}\n" in path.read_text()
    }


def test_the_group_is_complete_and_documented() -> None:
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    assert set(groups["flannel"]) == find_modules("weft.flannel._etcd")
    assert set(groups["flannel"]) == find_modules("weft.flannel._attributes.actiongroup_etcd")
    assert groups["etcd"] == [{"metadata": {"extend_group": ["weft.flannel.flannel"]}}]
