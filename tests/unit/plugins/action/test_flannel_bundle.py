# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action puts the archive and its byte code on a host, and only what is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.weft.flannel.plugins.plugin_utils._bundle import build_bundle


def run_action(home: Path, directory: Path, *flags: str) -> tuple[str, dict[str, Any]]:
    """All that Ansible prints, and the task's result in it."""
    command = [
        *(
            sys.executable,
            "-m",
            "ansible",
            "adhoc",
            "localhost",
            "--inventory",
            "localhost,",
            "--connection",
            "local",
        ),
        *("--module-name", "weft.flannel.flannel_bundle", "--args", f"directory={directory}", *flags),
    ]
    environment = {
        **os.environ,
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_COLLECTIONS_PATH": str(Path(__file__).resolve().parents[4] / "build/ac"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    result: dict[str, Any] = json.loads(run.stdout.partition(" => ")[2])
    return run.stdout, result


def test_check_mode_then_real_then_again(tmp_path: Path) -> None:
    bundle = build_bundle()
    host = tmp_path / "host"
    host.mkdir()
    archive = host / bundle.file_name

    printed, told = run_action(tmp_path / "home", host, "--check", "--diff")
    assert told["changed"]
    assert told["dest"] == str(archive)
    assert not archive.exists()
    assert "ansible_collections" not in printed, "the archive's content is no diff to read"

    _printed, done = run_action(tmp_path / "home", host)
    assert done["changed"]
    assert (done["version"], done["sha256"]) == (bundle.version, bundle.sha256)
    assert archive.read_bytes() == bundle.content
    assert archive.stat().st_mode & 0o777 == 0o755
    compiled = Path(f"{archive}c")
    assert compiled.read_bytes().count(b"def main") > 0, "byte code has its source beside it"

    _printed, again = run_action(tmp_path / "home", host)
    assert not again["changed"]

    archive.write_bytes(b"something else")
    compiled.unlink()
    printed, mended = run_action(tmp_path / "home", host, "--diff")
    assert mended["changed"]
    assert archive.read_bytes() == bundle.content
    assert f"+++ after: {compiled}" in printed
    assert compiled.exists()
