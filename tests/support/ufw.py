# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real ufw in a network namespace, with a copy of the machine's configuration."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Optional, Type

from tests.support.netns import Namespace, execute

# ufw looks at who owns its directories, and there its own root is nobody.
USABLE = shutil.which("ufw") is not None and os.getuid() == 0
_SETTINGS = ("/etc/ufw", "/etc/default/ufw")


class Ufw:
    """ufw from `with` to its end: on, with nothing let in."""

    def __init__(self, where: Namespace, directory: Path) -> None:
        self._where = where
        self._directory = directory

    def __enter__(self) -> Ufw:
        # In the mounts of the tests: the machine's own ufw sees nothing of it.
        for path in _SETTINGS:
            copy = self._directory / path.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            execute("cp", "-a", path, str(copy))
            execute("mount", "--bind", str(copy), path)
        self.command("--force", "reset")
        self.command("--force", "enable")
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        for path in _SETTINGS:
            execute("umount", path)

    def command(self, *arguments: str) -> str:
        """What ufw prints. Raises AssertionError when it fails."""
        return self._where.execute("ufw", *arguments)
