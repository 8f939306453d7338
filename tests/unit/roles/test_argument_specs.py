# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role says about its variables is what it does: specification, defaults and use do not drift apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if (path / "tasks").is_dir())


def load(role: str, name: str) -> Any:
    return yaml.safe_load((ROLES / role / name).read_text(encoding="utf-8"))


# An entry point that is always called with what it needs.
WITHOUT_DEFAULTS = {"packages"}


def options(role: str) -> dict[str, Any]:
    """Those of all entry points."""
    specified = load(role, "meta/argument_specs.yml")["argument_specs"]
    return {
        name: option
        for entry_point in specified.keys() - WITHOUT_DEFAULTS
        for name, option in specified[entry_point]["options"].items()
    }


@pytest.mark.parametrize("role", NAMES)
def test_every_default_is_specified_and_the_reverse(role: str) -> None:
    optional = {name for name, option in options(role).items() if not option.get("required")}
    assert set(load(role, "defaults/main.yml")) == optional


@pytest.mark.parametrize("role", NAMES)
def test_defaults_have_the_specified_value(role: str) -> None:
    specified = options(role)
    for name, value in load(role, "defaults/main.yml").items():
        if not (isinstance(value, str) and "{{" in value):
            assert specified[name].get("default") == value, name


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_starts_with_the_name_of_the_role(role: str) -> None:
    assert [name for name in options(role) if not name.startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_is_used(role: str) -> None:
    text = "".join(
        path.read_text(encoding="utf-8")
        for directory in ("tasks", "templates", "vars", "handlers")
        for path in (ROLES / role / directory).rglob("*")
        if path.is_file()
    )
    assert [name for name in options(role) if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("role", NAMES)
def test_every_entry_point_exists(role: str) -> None:
    for entry_point in load(role, "meta/argument_specs.yml")["argument_specs"]:
        assert (ROLES / role / f"tasks/{entry_point}.yml").is_file()
