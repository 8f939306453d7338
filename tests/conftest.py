# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection importable under its real name, from a plain checkout, for every pytest run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLLECTIONS = ROOT / "build" / "ac"


def _link_collection() -> None:
    link = COLLECTIONS / "ansible_collections" / "weft" / "flannel"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(ROOT, target_is_directory=True)


_link_collection()
# Ansible makes its temporary files there from the moment it is imported.
os.environ.setdefault("ANSIBLE_HOME", str(ROOT / "build" / "ansible"))
for path in (COLLECTIONS, ROOT / "roles" / "flannel" / "files", ROOT):
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
