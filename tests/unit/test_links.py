# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links between pages lead to files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = "https://github.com/weft-net/weft.flannel/"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("roles/*/README.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("docs/docsite/**/*.*"),
    ]
)


def list_targets(page: Path) -> list[Path]:
    """The files of this repository that a page links to, without their anchors."""
    text = page.read_text(encoding="utf-8")
    by_address = re.findall(rf"{re.escape(OURS)}(?:blob|tree)/main/([^)>#\s]+)", text)
    beside = re.findall(r"\]\((?!https?:|#)([^)#]+)", text) if page.suffix == ".md" else []
    return [ROOT / path for path in by_address] + [page.parent / path for path in beside]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_somewhere(page: Path) -> None:
    assert [str(target) for target in list_targets(page) if not target.exists()] == []


def test_links_are_found() -> None:
    assert sum(len(list_targets(page)) for page in PAGES) > 50
