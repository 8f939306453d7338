# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever looks a message up in docs/troubleshooting.md finds it as the sources say it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")


def list_quoted(heading: str) -> list[str]:
    """What the first column of the table below this heading quotes."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def read_sources(*patterns: str) -> str:
    """All these files, with any white space as one blank: messages go over several lines."""
    paths = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    assert paths
    return " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in paths)


AGENT = read_sources("roles/flannel/files/flanneld/**/*.py", "plugins/module_utils/*.py")
PLAYS = read_sources("roles/*/tasks/*.yml", "plugins/**/*.py")


@pytest.mark.parametrize("line", list_quoted("What the log of a host says"))
def test_the_agent_logs_it(line: str) -> None:
    assert line in AGENT


@pytest.mark.parametrize("message", list_quoted("What a playbook says"))
def test_a_play_says_it(message: str) -> None:
    assert message in PLAYS


def test_both_tables_are_read() -> None:
    assert len(list_quoted("What the log of a host says")) > 5
    assert len(list_quoted("What a playbook says")) > 5
