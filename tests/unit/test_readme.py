# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection offers is found from its first page."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py")))
def test_it_names_every_module(module: str) -> None:
    assert f"`{module}`" in README or f"`weft.flannel.{module}`" in README


@pytest.mark.parametrize("playbook", sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml")))
def test_it_names_every_playbook(playbook: str) -> None:
    _before, table = README.split("### Playbooks\n")
    assert f"`weft.flannel.{playbook}`" in table


@pytest.mark.parametrize("role", sorted(path.name for path in (ROOT / "roles").iterdir()))
def test_it_leads_to_every_role(role: str) -> None:
    assert f"/roles/{role}/README.md)" in README
