# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where modules find the libraries that the role brought."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest
from ansible_collections.weft.flannel.plugins.module_utils._libraries import (
    find_environments,
    reach_environment,
)

OURS = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def add_environment(directory: Path, name: str, age: int, version: str = OURS) -> Path:
    """A complete environment that was finished so many seconds ago."""
    packages = directory / name / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    marker = directory / name / "complete"
    marker.touch()
    os.utime(marker, (1_000_000 - age, 1_000_000 - age))
    return packages


def test_the_newest_environment_comes_first(tmp_path: Path) -> None:
    old, new = add_environment(tmp_path, "venv-1", 60), add_environment(tmp_path, "venv-2", 0)
    assert find_environments(tmp_path) == (str(new), str(old))


def test_what_is_not_complete_or_for_another_python_is_none(tmp_path: Path) -> None:
    add_environment(tmp_path, "venv-1", 0)
    (tmp_path / "venv-1" / "complete").unlink()
    add_environment(tmp_path, "venv-2", 0, version="python3.5")
    assert find_environments(tmp_path) == ()
    assert not reach_environment(tmp_path)


def test_an_import_that_failed_works_once_the_environment_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (add_environment(tmp_path, "venv-1", 0) / "weft_only_here.py").write_text("ANSWER = 42\n")
    with pytest.raises(ImportError):
        importlib.import_module("weft_only_here")
    assert reach_environment(tmp_path)
    assert importlib.import_module("weft_only_here").ANSWER == 42
    assert not reach_environment(tmp_path)
