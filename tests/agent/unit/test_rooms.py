# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A room of the agent imports only from rooms below it (docs/decisions/0001)."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator

import pytest

AGENT = Path(__file__).resolve().parents[3] / "roles" / "flannel" / "files" / "flanneld"
FLOORS = (
    ("__version__", "instance", "udp", "bpf", "vendored", "ending"),
    ("tables",),
    ("backends", "firewall", "leasing", "reconciler", "options"),
    ("outputs", "plan", "consumers", "standing", "apart"),
    ("last_life", "config_watch", "resuming"),
    ("other_instances",),
    ("startup", "memory", "desk"),
    ("datapath",),
    ("readiness",),
    ("daemon",),
    ("serving",),
    ("service",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def find_imports(path: Path) -> Iterator[str]:
    """The rooms that a file imports from."""
    inside = ("flanneld", *path.relative_to(AGENT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(inside[: len(inside) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            modules = [[*base, alias.name] for alias in node.names] if base == ["flanneld"] else [base]
        else:
            continue
        yield from (module[1] for module in modules if module[0] == "flanneld" and len(module) > 1)


@pytest.mark.parametrize(
    "path", sorted(AGENT.rglob("*.py")), ids=lambda path: path.relative_to(AGENT).as_posix()
)
def test_a_room_imports_only_from_rooms_below_it(path):
    room = path.relative_to(AGENT).parts[0].replace(".py", "")
    if room == "__init__":
        room = "__version__"
    above = {other for other in find_imports(path) if other != room and FLOOR_OF[other] >= FLOOR_OF[room]} - {
        "__version__"
    }
    assert not above
