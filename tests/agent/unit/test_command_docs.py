# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages that an engineer on call reads name what there is."""

from __future__ import annotations

import re
from pathlib import Path

from flanneld.cli import EXIT_CODES
from flanneld.commands import COMMANDS
from flanneld.commands.check import CHECKS

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_every_exit_code_of_the_agent_is_explained() -> None:
    text = (DOCS / "exit-codes.md").read_text(encoding="utf-8").partition("## The commands")[0]
    explained = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert explained == {0, 1} | {code for _kind, code in EXIT_CODES}


def test_every_command_has_its_exit_codes_explained() -> None:
    text = (DOCS / "exit-codes.md").read_text(encoding="utf-8").partition("## The commands")[2]
    assert set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)) == set(COMMANDS)


def test_the_checks_that_the_page_of_symptoms_names_exist() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    table = text.partition("line of `flanneld check` |")[2].partition("\n\n")[0]
    last_cells = [row.rsplit("|", 2)[1] for row in table.splitlines() if row.count("|") > 2]
    named = {name for cell in last_cells[1:] for name in re.findall(r"`([^`]+)`", cell)}
    commands = {name for name in named if name.startswith(("ethtool", "tcpdump", "--"))}
    assert named - commands
    assert named - commands <= {check.name for check in CHECKS}
