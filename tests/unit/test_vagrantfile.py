# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Vagrant understands the Vagrantfile; whether its machines work needs a hypervisor."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_vagrant_accepts_it(tmp_path: Path) -> None:
    # State of its own: neither the user's home nor the checkout. Providers are plugins that this machine lacks.
    environment = {
        **os.environ,
        "VAGRANT_HOME": str(tmp_path / "home"),
        "VAGRANT_DOTFILE_PATH": str(tmp_path / "state"),
        "VAGRANT_CWD": str(ROOT),
    }
    answer = subprocess.run(
        ["vagrant", "validate", "--ignore-provider"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_playbook_that_it_runs_exists() -> None:
    named = re.findall(r'ansible\.playbook = "([^"]+)"', (ROOT / "Vagrantfile").read_text(encoding="utf-8"))
    assert named
    assert all((ROOT / playbook).is_file() for playbook in named)
