# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the weft.flannel collection: may change without notice.
"""The libraries that the role brings to a host whose distribution does not (its variable flannel_python).

flanneld itself runs on the Python of that environment. Modules run on the one that Ansible has chosen, usually the
Python that the environment was made with, and find the libraries here.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Tuple

PROGRAM_DIRECTORY = "/usr/lib/flanneld"
"""Where the role keeps what hosts run."""

# The last thing that the role writes: without it the libraries may not be complete.
_COMPLETE = "complete"


def find_environments(directory: Path = Path(PROGRAM_DIRECTORY)) -> Tuple[str, ...]:
    """Where complete environments on this host keep libraries for this Python, the newest first."""
    complete = sorted(
        directory.glob(f"venv-*/{_COMPLETE}"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    places = (marker.parent / "lib" / version / "site-packages" for marker in complete)
    return tuple(str(place) for place in places if place.is_dir())


def reach_environment(directory: Path = Path(PROGRAM_DIRECTORY)) -> bool:
    """Have imports look into the newest environment first. False if there is none, or they did so already."""
    places = find_environments(directory)
    if not places or places[0] in sys.path:
        return False
    sys.path.insert(0, places[0])
    importlib.invalidate_caches()
    return True
